// What the pages do by themselves: charts, tables that sort and filter, runs side by side. Texts of runs are only ever
// set as text, never as HTML. Everything else of a page is there without this file.
"use strict";

const root = document.body.dataset.root;
const make = (tag, text = "", settings = {}) => Object.assign(document.createElement(tag), { textContent: text }, settings);
const all = (where, what) => [...where.querySelectorAll(what)];
document.documentElement.classList.add("js");

// Charts: each stands before the script element that holds its figures, and is drawn once it comes near the screen.

const SETTINGS = { responsive: true, displayModeBar: false, displaylogo: false };

function draw(place, chart) {
  return Plotly.react(place, chart.data, chart.layout, SETTINGS);
}

function drawWhenNear(places) {
  const drawn = (place) => {
    if (!place.dataset.drawn) {
      place.dataset.drawn = "yes";
      draw(place, JSON.parse(place.nextElementSibling.textContent));
    }
  };
  const watch = new IntersectionObserver((seen) => {
    for (const each of seen.filter((each) => each.isIntersecting)) {
      watch.unobserve(each.target);
      drawn(each.target);
    }
  }, { rootMargin: "600px" });
  places.forEach((place) => watch.observe(place));
  window.addEventListener("beforeprint", () => places.forEach(drawn));
}

// Tables: a heading sorts by what a cell shows, or by its data-value; empty cells stay at the end.

function valueOf(row, column) {
  const cell = row.cells[column];
  const text = cell.dataset.value ?? cell.textContent.trim();
  return text !== "" && Number.isFinite(Number(text)) ? Number(text) : text.toLowerCase();
}

function compareValues(one, other) {
  if (one === "" || other === "") return (one === "") - (other === "");
  if (typeof one === "number" && typeof other === "number") return one - other;
  return String(one).localeCompare(String(other), "en", { numeric: true });
}

function sortBy(table, column, down) {
  const body = table.tBodies[0];
  const rows = [...body.rows].map((row) => [row, valueOf(row, column)]);
  rows.sort(([, one], [, other]) => (one === "" || other === "" || !down ? 1 : -1) * compareValues(one, other));
  body.append(...rows.map(([row]) => row));
}

function makeSortable(table) {
  const heads = [...table.tHead.rows[0].cells];
  heads.forEach((head, column) => {
    if (head.classList.contains("choice")) return;
    const button = make("button", head.textContent, { type: "button" });
    head.replaceChildren(button);
    button.addEventListener("click", () => {
      const before = head.getAttribute("aria-sort");
      const down = before === null ? head.classList.contains("number") : before === "ascending";
      heads.forEach((each) => each.removeAttribute("aria-sort"));
      head.setAttribute("aria-sort", down ? "descending" : "ascending");
      sortBy(table, column, down);
    });
  });
}

// Filters: rows that hold every word, and what was chosen of each key (data-method, data-mark, ...).

function filterTable(table) {
  const words = document.querySelector(`[data-filter="${table.id}"]`).value.toLowerCase().split(/\s+/).filter(Boolean);
  const choices = all(document, `[data-choose="${table.id}"]`).filter((each) => each.value);
  const rows = [...table.tBodies[0].rows];
  for (const row of rows) {
    const text = row.textContent.toLowerCase();
    const chosen = choices.every((each) => row.dataset[each.dataset.key].split("|").includes(each.value));
    row.hidden = !(chosen && words.every((word) => text.includes(word)));
  }
  const shown = rows.filter((row) => !row.hidden).length;
  const count = document.querySelector(`[data-count="${table.id}"]`);
  count.textContent = `${shown === rows.length ? shown : `${shown} of ${rows.length}`} ${count.dataset.what}`;
}

function makeFilter(field) {
  const table = document.getElementById(field.dataset.filter);
  for (const choice of all(document, `[data-choose="${table.id}"]`)) {
    const words = new Set([...table.tBodies[0].rows].flatMap((row) => row.dataset[choice.dataset.key].split("|")));
    choice.append(...[...words].filter(Boolean).sort().map((word) => make("option", word, { value: word })));
    choice.addEventListener("change", () => filterTable(table));
  }
  field.addEventListener("input", () => filterTable(table));
  filterTable(table);
}

// Choosing runs for the page of comparisons.

function makeChoice(bar) {
  const boxes = all(document, "td.choice input");
  const link = bar.querySelector("a");
  const show = () => {
    const runs = boxes.filter((box) => box.checked).flatMap((box) => box.value.split(","));
    bar.hidden = runs.length === 0;
    link.textContent = runs.length === 1 ? "Compare this run with others" : `Compare ${runs.length} runs`;
    link.href = `${root}compare.html#${runs.join(",")}`;
  };
  boxes.forEach((box) => box.addEventListener("change", show));
  bar.querySelector("button").addEventListener("click", () => {
    boxes.forEach((box) => (box.checked = false));
    show();
  });
  show();
}

// The page of comparisons. Its address names the runs; of each a script is loaded, which hands over what it says.

const report = { known: new Map(), take: (run, said) => report.known.set(run, said) };

function load(run) {
  if (report.known.has(run)) return Promise.resolve(true);
  if (!all(document, "#every option").some((option) => option.dataset.run === run)) return Promise.resolve(false);
  return new Promise((done) => {
    const script = make("script", "", { src: `${root}runs/${run}.js` });
    script.addEventListener("load", () => done(report.known.has(run)));
    script.addEventListener("error", () => done(false));
    document.head.append(script);
  });
}

const wanted = () => [...new Set(decodeURIComponent(location.hash.slice(1)).split(","))].filter((run) => /^[\w.-]+$/.test(run));
const want = (runs) => (location.hash = runs.join(","));

function tellApart(said) {
  // What names each run, less the words that all of them have.
  const words = said.map((each) => `${each.name} seed=${each.title.replace(/.*seed /, "")}`.split(" "));
  const short = words.map((each) => each.filter((word) => !words.every((other) => other.includes(word))).join(" "));
  return said.map((each, i) => short[i] || each.title);
}

function lineOf(name, values, same) {
  const differs = new Set(values).size > 1;
  if (!differs && !same && values.length > 1) return null;
  const row = make("tr", "", { className: differs ? "differs" : "" });
  row.append(make("th", name, { scope: "row" }), ...values.map((value) => make("td", value ?? "")));
  return row;
}

function part(table, name, columns, keys, valueOf, same) {
  const lines = keys.map((key) => lineOf(key, columns.map((said) => valueOf(said, key) ?? ""), same)).filter(Boolean);
  if (lines.length === 0) return;
  const head = make("tr", "", { className: "part" });
  head.append(make("th", name, { scope: "rowgroup", colSpan: columns.length + 1 }));
  const body = make("tbody");
  body.append(head, ...lines);
  table.append(body);
}

const keysOf = (columns, pick) => [...new Set(columns.flatMap(pick))];

function sideBySide(runs, columns) {
  const table = document.getElementById("side-by-side");
  const same = document.getElementById("same").checked;
  const heads = make("tr");
  heads.append(make("td"));
  columns.forEach((said, i) => {
    const head = make("th", "", { scope: "col" });
    const away = make("button", "take away", { type: "button" });
    away.setAttribute("aria-label", `take away ${said.title}`);
    away.addEventListener("click", () => want(runs.filter((run) => run !== runs[i])));
    head.append(make("a", said.title, { href: `${root}runs/${runs[i]}.html` }), " ");
    said.marks.forEach((mark) => head.append(make("span", mark, { className: "mark" }), " "));
    head.append(make("br"), away);
    heads.append(head);
  });
  const head = make("thead");
  head.append(heads);
  table.replaceChildren(head);
  part(table, "Run", columns, ["row", "table"], (said, key) => (key === "row" ? said.name : said.table), true);
  const figures = new Map(columns.flatMap((said) => said.figures.map(([split, name]) => [`${split} ${name}`, true])));
  const figureOf = (said, key) => said.figures.find(([split, name]) => `${split} ${name}` === key)?.[2];
  part(table, "Figures", columns, [...figures.keys()], figureOf, true);
  part(table, "Settings", columns, keysOf(columns, (said) => Object.keys(said.settings)), (said, key) => said.settings[key] ?? "default", same);
  const factOf = (said, key) => said.facts.find(([name]) => name === key)?.[1];
  part(table, "Environment", columns, keysOf(columns, (said) => said.facts.map(([name]) => name)), factOf, same);
}

function curvesOfAll(columns) {
  const figure = document.getElementById("curves-of-all");
  const choice = document.getElementById("curve");
  const metrics = keysOf(columns, (said) => Object.keys(said.curves)).sort((a, b) => b.startsWith("val/") - a.startsWith("val/") || a.localeCompare(b));
  figure.hidden = metrics.length === 0;
  if (figure.hidden) return;
  const before = metrics.includes(choice.value) ? choice.value : metrics.find((metric) => metric.includes("accuracy")) ?? metrics[0];
  choice.replaceChildren(...metrics.map((metric) => make("option", metric.replaceAll("/", " ").replaceAll("_", " "), { value: metric })));
  choice.value = before;
  const { layout, colours } = JSON.parse(document.getElementById("layout").textContent);
  const names = tellApart(columns);
  const data = columns.flatMap((said, i) => {
    if (!said.curves[before]) return [];
    const [x, y] = said.curves[before];
    const line = { color: colours.cycle[i % colours.cycle.length], dash: colours.dashes[Math.floor(i / colours.cycle.length) % 3], width: 2 };
    const marks = said.marks.map((mark) => ` (${mark})`).filter((mark) => !names[i].includes(mark)).join("");
    return [{ type: "scatter", mode: x.length <= 30 ? "lines+markers" : "lines", x, y, line, name: escaped(names[i] + marks), marker: { size: 5 } }];
  });
  layout.yaxis.title = { text: escaped(choice.selectedOptions[0].textContent), standoff: 10 };
  draw(figure.querySelector(".plot"), { data, layout });
}

const escaped = (text) => text.replaceAll("&", "&amp;").replaceAll("<", "&lt;").replaceAll(">", "&gt;"); // as plotly reads texts

async function compareRuns() {
  const message = document.getElementById("message");
  const asked = wanted();
  const there = await Promise.all(asked.map(load));
  const runs = asked.filter((_, i) => there[i]);
  const lost = asked.length - runs.length;
  message.textContent = lost ? `${lost} of the runs asked for are not on this site.` : runs.length ? "" : "No run is chosen yet.";
  const columns = runs.map((run) => report.known.get(run));
  document.getElementById("comparison").hidden = runs.length === 0;
  if (runs.length) {
    sideBySide(runs, columns);
    curvesOfAll(columns);
  }
}

function makeComparison() {
  const field = document.getElementById("add");
  const add = () => {
    const found = all(document, "#every option").find((option) => option.value === field.value);
    document.getElementById("message").textContent = found ? "" : "There is no run of this name; choose one of the list.";
    if (found) {
      field.value = "";
      want([...wanted(), found.dataset.run]);
    }
  };
  document.getElementById("add-button").addEventListener("click", add);
  field.addEventListener("keydown", (event) => event.key === "Enter" && add());
  field.addEventListener("input", () => all(document, "#every option").some((option) => option.value === field.value) && add());
  document.getElementById("same").addEventListener("change", compareRuns);
  document.getElementById("curve").addEventListener("change", compareRuns);
  window.addEventListener("hashchange", compareRuns);
  compareRuns();
}

all(document, "table.sortable").forEach(makeSortable);
all(document, "[data-filter]").forEach(makeFilter);
all(document, "[data-compare]").forEach(makeChoice);
drawWhenNear(all(document, ".chart > .plot").filter((place) => place.nextElementSibling?.type === "application/json"));
if (document.getElementById("comparison")) makeComparison();
