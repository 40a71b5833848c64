"use strict";

// What the page carries, outcomes, filters and orders. The facts of every image are read at once, its
// pictures only when it is shown: they come after this script, which runs while the rest is still read.
// The file is put before gallery.js, into the same script.
const OUTCOMES = {
  found: "found", missed: "missed", alarm: "false alarm", passed: "correctly passed", anomalous: "anomalous", normal: "normal",
};

const byId = (id) => document.getElementById(id);
const read = (node) => JSON.parse(node.textContent);
const settings = read(byId("settings"));
const METHODS = settings.methods;
const images = read(byId("facts"));
images.forEach((image, index) => { image.index = index; });

function pictures(index) {
  const node = byId(`pictures-${index}`);
  return node?.nextSibling ? read(node) : {}; // what follows it is there: all of it was read
}

const form = byId("controls");
const fields = form.elements;

// Either each group of images has its own calibrated threshold, to which the slider adds something, or one
// threshold holds for all images. In both ways each method has a place of the slider, and its range.
const ALL = "all";
const isOwn = () => fields.compared.value === "own";
const limitOf = (image, method) => settings.thresholds[method][isOwn() ? image.group : ALL];
const calibratedOf = (method) => (isOwn() ? 0 : settings.thresholds[method][ALL]);
const startOf = (method) => calibratedOf(method) + settings.added;
const ofEachMethod = (make) => Object.fromEntries(Object.keys(METHODS).map((method) => [method, make(method)]));
let thresholds = ofEachMethod(startOf);
let scales = ofEachMethod(scaleOf);

// --- scores and outcomes ------------------------------------------------------------------------------

function scaleOf(method) {
  // The slider's range, which holds every score and both thresholds, and the decimals that tell them apart.
  const values = [...images.map((image) => placeOf(image, method)), startOf(method)];
  const low = values.reduce((a, b) => Math.min(a, b), calibratedOf(method));
  const high = values.reduce((a, b) => Math.max(a, b), calibratedOf(method));
  const margin = (high - low) * 0.02 || Math.abs(high) * 0.02 || 1;
  const decimals = Math.ceil(3 - Math.log10(high - low + 2 * margin));
  return { low: low - margin, high: high + margin, decimals: Math.min(Math.max(decimals, 0), 20) };
}

// Where a score stands on the slider, and the threshold that it is compared with.
function placeOf(image, method) {
  return isOwn() ? image.scores[method] - limitOf(image, method) : image.scores[method];
}

function thresholdOf(image, method) {
  return isOwn() ? limitOf(image, method) + thresholds[method] : thresholds[method];
}

const written = (value, method) => value.toFixed(scales[method].decimals);

function outcomeOf(image, method = fields.method.value) {
  const predicted = image.scores[method] > thresholdOf(image, method);
  if (image.label === null) return predicted ? "anomalous" : "normal";
  if (image.label) return predicted ? "found" : "missed";
  return predicted ? "alarm" : "passed";
}

function countOutcomes(list) {
  const counts = Object.fromEntries(Object.keys(OUTCOMES).map((name) => [name, 0]));
  for (const image of list) counts[outcomeOf(image)] += 1;
  return counts;
}

const ratio = (part, rest) => (part + rest ? (part / (part + rest)).toFixed(3) : "n/d");
const precision = (counts) => ratio(counts.found, counts.alarm);
const recall = (counts) => ratio(counts.found, counts.missed);

// --- filters and order --------------------------------------------------------------------------------

const compareTexts = (a, b) => (a < b ? -1 : a > b ? 1 : 0);

const margin = (image, method) => image.scores[method] - thresholdOf(image, method);
const byName = [...images].sort((a, b) => compareTexts(a.category, b.category)
  || compareTexts(a.defect_type, b.defect_type) || compareTexts(a.path, b.path));
const placeByName = new Map(byName.map((image, place) => [image, place]));

// Of an image a number by which the list is sorted.
const ORDERS = {
  worst: (image, method) => (image.label // at the threshold itself an anomalous image is missed
    ? margin(image, method) || -Number.MIN_VALUE : -margin(image, method)),
  falling: (image, method) => -placeOf(image, method),
  rising: placeOf,
  margin: (image, method) => Math.abs(margin(image, method)),
  category: (image) => placeByName.get(image),
};

function sorted(list) {
  const keys = new Float64Array(images.length);
  for (const image of list) keys[image.index] = ORDERS[fields.sort.value](image, fields.method.value);
  return [...list].sort((a, b) => keys[a.index] - keys[b.index] || a.index - b.index);
}

function filtered() {
  // By category, defect type and path; the outcome is left to `update`, so that the counts keep all four.
  const words = fields.search.value.toLowerCase();
  return images.filter((image) => isChosen(fields.category, image.category)
    && (!fields.defect || isChosen(fields.defect, image.defect_type)) && image.path.toLowerCase().includes(words));
}

const isChosen = (select, name) => select.selectedIndex <= 0 || select.value === name;
