// Draws each chart when it comes into view, in the colours of the scheme; filters and orders the figures of the columns.
// The bundle that this is part of provides vegaEmbed.
const page = JSON.parse(document.getElementById("charts").textContent);
const dark = window.matchMedia("(prefers-color-scheme: dark)");
const drawn = new Map(); // element -> what vegaEmbed returned

/** The theme as Vega-Lite's config: every colour is a CSS variable of the page. */
function config() {
  const css = getComputedStyle(document.documentElement);
  const colour = (name) => css.getPropertyValue(`--${name}`).trim();
  const text = { labelColor: colour("soft"), titleColor: colour("soft"), labelFontSize: 11, titleFontSize: 11, titleFontWeight: 400 };
  return {
    background: null,
    font: getComputedStyle(document.body).fontFamily,
    view: { stroke: null },
    axis: { ...text, domainColor: colour("line"), tickColor: colour("line"), gridColor: colour("faint"), tickSize: 4, labelPadding: 4 },
    legend: text,
    range: {
      diverging: [colour("cold"), colour("neutral"), colour("warm")],
      category: [colour("synthetic"), colour("real"), colour("soft"), colour("good")],
    },
    style: {
      synthetic: { color: colour("synthetic-fill") },
      real: { color: colour("real"), strokeWidth: 2 },
      target: { opacity: 0 },
      cell: { stroke: colour("paper"), strokeWidth: 1 },
    },
  };
}

async function draw(plot) {
  const chart = page.charts[plot.dataset.chart];
  const spec = { ...page.specs[chart.spec], width: "container", height: chart.height, data: { values: chart.rows } };
  drawn.get(plot)?.finalize();
  // `ast`: expressions are interpreted, so that the page's policy can forbid eval.
  const options = { renderer: "svg", actions: false, ast: true, defaultStyle: false, config: config() };
  drawn.set(plot, await vegaEmbed(plot, spec, options));
}

const inView = new IntersectionObserver((entries) => {
  for (const entry of entries.filter((one) => one.isIntersecting)) {
    inView.unobserve(entry.target);
    draw(entry.target);
  }
}, { rootMargin: "300px" });
document.querySelectorAll(".plot").forEach((plot) => inView.observe(plot));
dark.addEventListener("change", () => [...drawn.keys()].forEach(draw));
window.addEventListener("beforeprint", () => document.querySelectorAll(".plot:empty").forEach(draw));

/** The numbers behind a chart as a table, made when it is first unfolded. */
function unfold(details) {
  const rows = page.charts[details.dataset.chart].rows;
  const fields = Object.keys(rows[0] ?? {});
  const table = document.createElement("table");
  table.className = "grid";
  const line = (cells, tag) => {
    const row = table.insertRow();
    for (const cell of cells) {
      const made = row.appendChild(document.createElement(tag));
      made.textContent = cell ?? "–";
      if (typeof cell === "number") made.className = "n";
    }
  };
  line(fields, "th");
  rows.forEach((row) => line(fields.map((field) => row[field]), "td"));
  const wide = details.appendChild(document.createElement("div"));
  wide.className = "wide";
  wide.append(table);
}
document.querySelectorAll(".numbers").forEach((details) => details.addEventListener("toggle", () => unfold(details), { once: true }));

const filter = document.getElementById("filter");
if (filter) {
  const figures = document.getElementById("figures");
  const all = [...figures.children];
  const found = document.getElementById("found");
  const worst = document.getElementById("worst");

  const show = () => {
    const words = filter.value.toLowerCase().split(/\s+/).filter(Boolean);
    for (const figure of all) figure.hidden = !words.every((word) => figure.dataset.words.includes(word));
    const left = all.filter((figure) => !figure.hidden).length;
    found.textContent = left === all.length ? `${left} columns` : `${left} of ${all.length} columns`;
  };
  const order = () => {
    const by = worst.checked ? "likeness" : "place";
    figures.append(...all.toSorted((a, b) => a.dataset[by] - b.dataset[by]));
  };
  filter.addEventListener("input", show);
  worst.addEventListener("change", order);
  filter.form.addEventListener("submit", (event) => event.preventDefault());
  document.addEventListener("keydown", (event) => {
    const typing = event.target.closest("input, textarea");
    if (event.key === "/" && !typing && !event.ctrlKey && !event.metaKey) {
      event.preventDefault();
      filter.focus();
    }
    if (event.key === "Escape" && event.target === filter) {
      filter.value = "";
      show();
    }
  });
}
