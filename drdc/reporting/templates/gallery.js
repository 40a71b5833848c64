// What the page shows, and how the controls change it.
const PAGE = 60; // cards at a time, so that no more pictures than theirs are ever decoded
const BINS = 40; // of the histogram; the width of its view box
const LATE = 200; // milliseconds between two looks for pictures that were not read yet

const TESTED = images[0].label !== null; // whether it is known which images are anomalous
const outcomeButtons = [...form.querySelectorAll("[data-outcome]")];
const large = byId("large");
let cards = new Map(); // index of an image -> its list item, of the images on this page
let matching = []; // images that pass all filters, sorted
let first = 0; // place in `matching` of the first image on this page
let current = 0; // place in `matching` of the image in the large view

// --- what follows the controls ------------------------------------------------------------------------

function update() {
  const list = filtered();
  const pressed = outcomeButtons.filter((button) => button.ariaPressed === "true");
  const wanted = new Set(pressed.map((button) => button.dataset.outcome));
  matching = sorted(wanted.size ? list.filter((image) => wanted.has(outcomeOf(image))) : list);
  showThreshold(list);
  showCounts(list);
  showGrid();
}

function updateFromStart() {
  first = 0;
  update();
}

function showThreshold(list) {
  const method = fields.method.value;
  const { low, high } = scales[method];
  const place = (value) => ((value - low) / (high - low)) * BINS;
  const bins = [new Array(BINS).fill(0), new Array(BINS).fill(0)];
  for (const image of list) bins[image.label ?? 0][Math.floor(place(placeOf(image, method)))] += 1;
  const bars = (counts, direction) => counts
    .map((count, bin) => `M${bin + 0.06} 0h.88v${(direction * 48 * count) / Math.max(1, ...counts)}h-.88z`)
    .join("");
  byId("normal-bars").setAttribute("d", bars(bins[0], -1));
  byId("anomalous-bars").setAttribute("d", bars(bins[1], 1));
  const lines = { "threshold-line": thresholds[method], "calibrated-line": calibratedOf(method) };
  for (const [id, value] of Object.entries(lines)) {
    byId(id).setAttribute("x1", place(value));
    byId(id).setAttribute("x2", place(value));
  }
  const anomalous = list.filter((image) => image.label).length;
  byId("histogram").ariaLabel = TESTED
    ? `Histogram of the scores of ${list.length - anomalous} normal and ${anomalous} anomalous images`
    : `Histogram of the scores of ${list.length} images`;
  byId("number-name").textContent = isOwn() ? "Added to each" : "Value";
  byId("calibrated").value = written(calibratedOf(method), method);
}

function showCounts(list) {
  const counts = countOutcomes(list);
  for (const button of outcomeButtons) button.firstChild.textContent = counts[button.dataset.outcome];
  const quality = TESTED ? `precision ${precision(counts)}, recall ${recall(counts)}`
    : `${counts.anomalous} anomalous, ${counts.normal} normal`;
  byId("summary").textContent = `${matching.length} of ${images.length} images match; ${quality}`;
  clearTimeout(showCounts.timer); // a moving slider is announced once, where it stops
  showCounts.timer = setTimeout(() => {
    const outcomes = `${counts.found} found, ${counts.missed} missed, `
      + `${counts.alarm} false alarms, ${counts.passed} correctly passed; `;
    byId("status").textContent = (TESTED ? outcomes : "") + quality;
  }, 300);
  if (!TESTED) return;
  const groups = new Map();
  for (const image of list) {
    if (!groups.has(image.category)) groups.set(image.category, []);
    groups.get(image.category).push(image);
  }
  const names = [...groups.keys()].sort(compareTexts);
  const rows = [...names.map((name) => [name, groups.get(name)]), ["all", list]];
  byId("rows").replaceChildren(...rows.map(([name, group]) => tableRow(name, group)));
}

function tableRow(name, group) {
  const counts = countOutcomes(group);
  const row = document.createElement("tr");
  const head = document.createElement("th");
  head.scope = "row";
  head.append(Object.assign(document.createElement("bdi"), { textContent: name }));
  row.append(head);
  const cells = [precision(counts), recall(counts), counts.found, counts.missed, counts.alarm, counts.passed];
  for (const cell of cells) row.insertCell().textContent = cell;
  return row;
}

// --- cards --------------------------------------------------------------------------------------------

function showGrid() {
  first = Math.max(0, Math.min(first, Math.floor((matching.length - 1) / PAGE) * PAGE));
  const shown = matching.slice(first, first + PAGE);
  cards = new Map(shown.map((image) => [image.index, cards.get(image.index) ?? newCard(image)]));
  const items = [...cards.values()];
  items.forEach(paint);
  const grid = byId("grid");
  const same = items.length === grid.children.length && items.every((item, i) => item === grid.children[i]);
  if (!same) grid.replaceChildren(...items);
  byId("range").textContent = `${first + 1} to ${first + shown.length} of ${matching.length}`;
  byId("earlier").disabled = first === 0;
  byId("later").disabled = first + PAGE >= matching.length;
  byId("pager").hidden = matching.length <= PAGE;
  byId("none").hidden = matching.length > 0;
}

function newCard(image) {
  const item = byId("card").content.firstElementChild.cloneNode(true);
  item.firstElementChild.dataset.index = image.index;
  item.querySelector(".kind").textContent = kindOf(image);
  drawBoxes(item.querySelector(".boxes"), image);
  // Lines end behind a slash where they can.
  item.querySelector(".path").append(...image.path.split(/(?<=[/])/).flatMap((part) => [part, document.createElement("wbr")]));
  item.firstElementChild.title = image.path;
  return item;
}

const regionsOf = (image) => (image.boxes.length === 1 ? "1 region" : `${image.boxes.length} regions`);
const kindOf = (image) => [image.category, image.defect_type, image.label === null && regionsOf(image)]
  .filter(Boolean).join(" · ");

function drawBoxes(svg, image) {
  // Fitted into its frame as the picture is.
  const [width, height] = image.size;
  svg.setAttribute("viewBox", `0 0 ${width} ${height}`);
  svg.replaceChildren(...image.boxes.map(([x, y, w, h]) => {
    const box = document.createElementNS(svg.namespaceURI, "rect");
    for (const [name, value] of Object.entries({ x, y, width: w, height: h })) box.setAttribute(name, value);
    return box;
  }));
}

function paint(item) {
  const image = images[item.firstElementChild.dataset.index];
  const method = fields.method.value;
  const badge = item.querySelector(".badge");
  badge.dataset.outcome = outcomeOf(image);
  badge.textContent = OUTCOMES[outcomeOf(image)];
  item.querySelector(".score").textContent = written(image.scores[method], method);
  const view = `${fields.underlay?.value} ${fields.heatmap.value}`;
  if (item.dataset.view === view) return;
  const urls = pictures(image.index);
  if (urls.image) item.dataset.view = view;
  setPicture(item.querySelector(".under"), urls[fields.underlay?.value ?? "image"]);
  setPicture(item.querySelector(".heat"), urls[fields.heatmap.value]);
  setPicture(item.querySelector(".found"), urls[fields.heatmap.value]);
  setPicture(item.querySelector(".truth"), urls.truth);
}

function setPicture(element, url) {
  element.hidden = !url;
  if (url) element.src = url;
}

function turn(pages) {
  first += pages * PAGE;
  showGrid();
  focusCard(first);
}

function focusCard(place) {
  cards.get(matching[place].index).firstElementChild.focus();
}

// --- large view ---------------------------------------------------------------------------------------

function showLarge(place) {
  current = (place + matching.length) % matching.length;
  const image = matching[current];
  const urls = pictures(image.index);
  byId("place").textContent = `${current + 1} of ${matching.length}`;
  byId("large-title").firstElementChild.textContent = image.path;
  byId("large-kind").textContent = kindOf(image);
  for (const svg of large.querySelectorAll(".boxes")) drawBoxes(svg, image);
  for (const [method, name] of Object.entries(METHODS)) {
    byId(`large-${method}`).textContent = `${name}: score ${written(image.scores[method], method)}, `
      + `threshold ${written(thresholdOf(image, method), method)}, ${OUTCOMES[outcomeOf(image, method)]}`;
  }
  for (const figure of large.querySelectorAll("figure")) {
    const kind = figure.dataset.picture;
    setPicture(figure.querySelector(".stack img"), urls[kind === "outlines" ? "image" : kind]);
    const ends = figure.querySelectorAll(".scale i");
    ends.forEach((end, i) => { end.textContent = settings.scales[image.group][kind][i].toPrecision(3); });
  }
  setPicture(large.querySelector(".found"), urls[fields.heatmap.value]);
  setPicture(large.querySelector(".truth"), urls.truth);
  if (TESTED) byId("unmarked").hidden = Boolean(urls.truth);
  if (!large.open) large.showModal();
}

function leaveLarge() {
  if (form.contains(document.activeElement)) return; // this event comes late: the user is elsewhere already
  first = Math.floor(current / PAGE) * PAGE;
  showGrid();
  focusCard(current);
}

// --- controls -----------------------------------------------------------------------------------------

function setThreshold(value, source) {
  const method = fields.method.value;
  thresholds[method] = value;
  if (source !== fields.slider) fields.slider.value = value;
  if (source !== fields.number) fields.number.value = written(value, method);
  fields.slider.ariaValueText = written(value, method);
  update();
}

function chooseCompared() {
  thresholds = ofEachMethod(startOf);
  scales = ofEachMethod(scaleOf);
  chooseMethod();
}

function chooseMethod() {
  const method = fields.method.value;
  fields.slider.min = scales[method].low;
  fields.slider.max = scales[method].high;
  setThreshold(thresholds[method]);
}

function setOverlay() {
  document.body.style.setProperty("--opacity", fields.opacity.value);
  for (const name of ["truth", "found", "boxes"]) {
    document.body.classList.toggle(`no-${name}`, fields[name] !== undefined && !fields[name].checked);
  }
}

function fillSelect(select, names) {
  const before = select.selectedIndex > 0 ? select.value : null;
  const counts = new Map();
  for (const name of names) counts.set(name, (counts.get(name) ?? 0) + 1);
  const options = [...counts.keys()].sort(compareTexts)
    .map((name) => new Option(`${name} (${counts.get(name)})`, name, false, name === before));
  select.replaceChildren(new Option(`all (${names.length})`, ""), ...options);
}

function fillDefects() {
  if (!TESTED) return;
  const list = images.filter((image) => isChosen(fields.category, image.category));
  fillSelect(fields.defect, list.map((image) => image.defect_type));
}

form.addEventListener("submit", (event) => event.preventDefault());
form.addEventListener("input", ({ target }) => {
  const value = Number.parseFloat(target.value);
  if (target === fields.slider) {
    setThreshold(Number(written(value, fields.method.value)), target); // what is shown is what counts
  } else if (target === fields.number) {
    if (Number.isFinite(value)) setThreshold(value, target);
  } else if (target.name === "method") {
    chooseMethod();
  } else if (target.name === "compared") {
    chooseCompared();
  } else if (["opacity", "truth", "found", "boxes"].includes(target.name)) {
    setOverlay();
  } else if (["heatmap", "underlay"].includes(target.name)) {
    showGrid();
  } else {
    if (target === fields.category) fillDefects();
    updateFromStart();
  }
});
byId("reset").addEventListener("click", () => setThreshold(startOf(fields.method.value)));
for (const button of outcomeButtons) {
  button.addEventListener("click", () => {
    button.ariaPressed = String(button.ariaPressed !== "true");
    updateFromStart();
  });
}
byId("earlier").addEventListener("click", () => turn(-1));
byId("later").addEventListener("click", () => turn(1));
byId("grid").addEventListener("click", ({ target }) => {
  const card = target.closest(".card");
  if (card) showLarge(matching.indexOf(images[card.dataset.index]));
});
byId("previous").addEventListener("click", () => showLarge(current - 1));
byId("next").addEventListener("click", () => showLarge(current + 1));
byId("close").addEventListener("click", () => large.close());
large.addEventListener("close", leaveLarge);
large.addEventListener("keydown", (event) => {
  const steps = { ArrowLeft: -1, ArrowRight: 1 };
  if (event.altKey || event.ctrlKey || event.metaKey) return; // the browser's own
  if (event.key in steps) showLarge(current + steps[event.key]);
});

if (matchMedia("(max-width: 45rem)").matches) {
  for (const part of form.querySelectorAll("details")) part.open = false;
}
fillSelect(fields.category, images.map((image) => image.category));
fillDefects();
setOverlay();
chooseMethod();

function catchUp() {
  showGrid();
  if (large.open) showLarge(current);
}
const late = setInterval(catchUp, LATE);
document.addEventListener("DOMContentLoaded", () => {
  clearInterval(late);
  catchUp();
});
