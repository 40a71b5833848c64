// What the page shows, and how the controls change it.
const PAGE = 60; // cards added at a time
const BINS = 40; // of the histogram; the width of its view box

const outcomeButtons = [...form.querySelectorAll("[data-outcome]")];
const large = byId("large");
const cards = new Map(); // index of an image -> its list item
let matching = []; // images that pass all filters, sorted
let limit = PAGE; // how many of them have a card
let current = 0; // place in `matching` of the image in the large view

// --- what follows the controls ------------------------------------------------------------------------

function update() {
  const list = filtered();
  const pressed = outcomeButtons.filter((button) => button.ariaPressed === "true");
  const wanted = new Set(pressed.map((button) => button.dataset.outcome));
  matching = wanted.size ? list.filter((image) => wanted.has(outcomeOf(image))) : [...list];
  matching.sort(ORDERS[fields.sort.value](fields.method.value));
  showThreshold(list);
  showCounts(list);
  showGrid();
}

function updateFromStart() {
  limit = PAGE;
  update();
}

function showThreshold(list) {
  const method = fields.method.value;
  const { low, high } = scales[method];
  const place = (value) => ((value - low) / (high - low)) * BINS;
  const bins = [new Array(BINS).fill(0), new Array(BINS).fill(0)];
  for (const image of list) bins[image.label][Math.floor(place(image.scores[method]))] += 1;
  const bars = (counts, direction) => counts
    .map((count, bin) => `M${bin + 0.06} 0h.88v${(direction * 48 * count) / Math.max(1, ...counts)}h-.88z`)
    .join("");
  byId("normal-bars").setAttribute("d", bars(bins[0], -1));
  byId("anomalous-bars").setAttribute("d", bars(bins[1], 1));
  const lines = { "threshold-line": thresholds[method], "start-line": settings.thresholds[method] };
  for (const [id, value] of Object.entries(lines)) {
    byId(id).setAttribute("x1", place(value));
    byId(id).setAttribute("x2", place(value));
  }
  const anomalous = list.filter((image) => image.label).length;
  byId("histogram").ariaLabel = `Histogram of the scores of ${list.length - anomalous} normal `
    + `and ${anomalous} anomalous images`;
  byId("start").value = written(settings.thresholds[method], method);
}

function showCounts(list) {
  const counts = countOutcomes(list);
  for (const button of outcomeButtons) button.firstChild.textContent = counts[button.dataset.outcome];
  const quality = `precision ${precision(counts)}, recall ${recall(counts)}`;
  byId("summary").textContent = `${matching.length} of ${images.length} images match; ${quality}`;
  clearTimeout(showCounts.timer); // a moving slider is announced once, where it stops
  showCounts.timer = setTimeout(() => {
    byId("status").textContent = `${counts.found} found, ${counts.missed} missed, `
      + `${counts.alarm} false alarms, ${counts.passed} correctly passed; ${quality}`;
  }, 300);
  const categories = [...new Set(list.map((image) => image.category))].sort(compareTexts);
  const groups = categories.map((name) => [name, list.filter((image) => image.category === name)]);
  byId("rows").replaceChildren(...[...groups, ["all", list]].map(([name, group]) => tableRow(name, group)));
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
  const items = matching.slice(0, limit).map(cardOf);
  items.forEach(paint);
  const grid = byId("grid");
  const same = items.length === grid.children.length && items.every((item, i) => item === grid.children[i]);
  if (!same) grid.replaceChildren(...items);
  const rest = matching.length - items.length;
  byId("more").hidden = rest === 0;
  byId("more").textContent = `Show ${Math.min(PAGE, rest)} more of ${rest}`;
  byId("none").hidden = matching.length > 0;
}

function cardOf(image) {
  if (!cards.has(image.index)) {
    const item = byId("card").content.firstElementChild.cloneNode(true);
    item.firstElementChild.dataset.index = image.index;
    item.querySelector(".kind").textContent = `${image.category} · ${image.defect_type}`;
    item.querySelector(".path").textContent = image.path;
    item.firstElementChild.title = image.path;
    cards.set(image.index, item);
  }
  return cards.get(image.index);
}

function paint(item) {
  const image = images[item.firstElementChild.dataset.index];
  const method = fields.method.value;
  const badge = item.querySelector(".badge");
  badge.dataset.outcome = outcomeOf(image);
  badge.textContent = OUTCOMES[outcomeOf(image)];
  item.querySelector(".score").textContent = written(image.scores[method], method);
  const view = `${fields.underlay.value} ${fields.heatmap.value}`;
  if (item.dataset.view === view) return;
  item.dataset.view = view;
  const urls = pictures(image.index);
  setPicture(item.querySelector(".under"), urls[fields.underlay.value]);
  setPicture(item.querySelector(".heat"), urls[fields.heatmap.value]);
  setPicture(item.querySelector(".outline"), urls.outline);
}

function setPicture(element, url) {
  element.hidden = !url;
  if (url) element.src = url;
}

function showMore() {
  const first = limit;
  limit += PAGE;
  showGrid();
  cardOf(matching[first]).firstElementChild.focus();
}

// --- large view ---------------------------------------------------------------------------------------

function showLarge(place) {
  current = (place + matching.length) % matching.length;
  const image = matching[current];
  const urls = pictures(image.index);
  byId("place").textContent = `${current + 1} of ${matching.length}`;
  byId("large-title").firstElementChild.textContent = image.path;
  byId("large-kind").textContent = `${image.category} · ${image.defect_type}`;
  for (const [method, name] of Object.entries(METHODS)) {
    byId(`large-${method}`).textContent = `${name}: score ${written(image.scores[method], method)}, `
      + `threshold ${written(thresholds[method], method)}, ${OUTCOMES[outcomeOf(image, method)]}`;
  }
  for (const figure of large.querySelectorAll("figure")) {
    const kind = figure.dataset.picture;
    figure.querySelector(".stack img").src = urls[kind === "truth" ? "image" : kind];
    const ends = figure.querySelectorAll(".scale i");
    ends.forEach((end, i) => { end.textContent = settings.limits[image.category][kind][i].toPrecision(3); });
  }
  setPicture(large.querySelector(".outline"), urls.outline);
  byId("unmarked").hidden = Boolean(urls.outline);
  if (!large.open) large.showModal();
}

function focusCard() {
  limit = Math.max(limit, Math.ceil((current + 1) / PAGE) * PAGE);
  showGrid();
  cardOf(matching[current]).firstElementChild.focus();
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

function chooseMethod() {
  const method = fields.method.value;
  fields.slider.min = scales[method].low;
  fields.slider.max = scales[method].high;
  setThreshold(thresholds[method]);
}

function setOverlay() {
  byId("grid").style.setProperty("--opacity", fields.opacity.value);
  byId("grid").classList.toggle("plain", !fields.outline.checked);
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
  } else if (["opacity", "outline"].includes(target.name)) {
    setOverlay();
  } else if (["heatmap", "underlay"].includes(target.name)) {
    showGrid();
  } else {
    if (target === fields.category) fillDefects();
    updateFromStart();
  }
});
byId("reset").addEventListener("click", () => setThreshold(settings.thresholds[fields.method.value]));
for (const button of outcomeButtons) {
  button.addEventListener("click", () => {
    button.ariaPressed = String(button.ariaPressed !== "true");
    updateFromStart();
  });
}
byId("more").addEventListener("click", showMore);
byId("grid").addEventListener("click", ({ target }) => {
  const card = target.closest(".card");
  if (card) showLarge(matching.indexOf(images[card.dataset.index]));
});
byId("previous").addEventListener("click", () => showLarge(current - 1));
byId("next").addEventListener("click", () => showLarge(current + 1));
byId("close").addEventListener("click", () => large.close());
large.addEventListener("close", focusCard);
large.addEventListener("keydown", (event) => {
  const steps = { ArrowLeft: -1, ArrowRight: 1 };
  if (event.altKey || event.ctrlKey || event.metaKey) return; // the browser's own
  if (event.key in steps) showLarge(current + steps[event.key]);
});

for (const bar of document.querySelectorAll(".scale img")) bar.src = settings.colour_bar;
if (matchMedia("(max-width: 45rem)").matches) {
  for (const part of form.querySelectorAll("details")) part.open = false;
}
fillSelect(fields.category, images.map((image) => image.category));
fillDefects();
setOverlay();
chooseMethod();
