// The live panel: what the server's counters say, once a second, as differences.

const byId = (id) => document.getElementById(id);
const svg = (tag, attributes) => {
  const node = document.createElementNS("http://www.w3.org/2000/svg", tag);
  for (const [key, value] of Object.entries(attributes)) node.setAttribute(key, value);
  return node;
};

export function bytes(n) {
  for (const unit of ["B", "KiB", "MiB", "GiB"]) {
    if (n < 1024 || unit === "GiB") return (n >= 100 || unit === "B" ? n.toFixed(0) : n.toFixed(1)) + " " + unit;
    n /= 1024;
  }
}

const sentence = (text) => (text ? text[0].toUpperCase() + text.slice(1) + "." : "");

const number = (n) => (n === 0 ? "0" : n >= 100 ? n.toFixed(0) : n >= 10 ? n.toFixed(1) : n.toFixed(2));

const samples = 60;

// plot draws the last minute of values as a line with an area below, the latest
// and the highest as numbers.
function plot(name, values) {
  const node = byId(name + "-plot");
  const peak = Math.max(0, ...values);
  const top = Math.max(1, peak) * 1.1;
  byId(name).textContent = number(values.at(-1));
  byId(name + "-peak").textContent = peak > 0 ? "peak " + number(peak) : "";
  const points = values.map((v, i) => [240 * (samples - values.length + i) / (samples - 1), 54 - 50 * v / top]);
  const line = points.map(([x, y], i) => (i ? "L" : "M") + x.toFixed(1) + " " + y.toFixed(1)).join("");
  node.replaceChildren();
  if (points.length < 2) return;
  node.append(
    svg("path", { class: "area", d: `${line}L240 56L${points[0][0].toFixed(1)} 56Z` }),
    svg("path", { class: "line", d: line }),
  );
}

// tiers draws how much of the model is in memory and how much stays on disk.
function tiers(s) {
  const parts = [
    ["ram", "in memory", s.model.bytes - s.model.disk_bytes],
    ["disk", "on disk, read when needed", s.model.disk_bytes],
  ].filter(([, , n]) => n > 0);
  const sum = parts.reduce((n, part) => n + part[2], 0) || 1;
  const bar = byId("tiers");
  const key = byId("tier-key");
  bar.replaceChildren();
  key.replaceChildren();
  let x = 0;
  for (const [name, text, n] of parts) {
    const width = 240 * n / sum;
    bar.append(svg("rect", { class: name, x: x.toFixed(2), y: 0, width: width.toFixed(2), height: 12 }));
    x += width;
    const li = document.createElement("li");
    const mark = svg("svg", { viewBox: "0 0 10 10", "aria-hidden": "true" });
    mark.append(svg("circle", { class: name, cx: 5, cy: 5, r: 5 }));
    const size = document.createElement("b");
    size.textContent = bytes(n);
    li.append(mark, text, size);
    key.append(li);
  }
}

function roles(memory) {
  const list = byId("roles");
  list.replaceChildren();
  const line = (name, n) => {
    const li = document.createElement("li");
    const size = document.createElement("b");
    size.textContent = bytes(n);
    li.append(name, size);
    list.append(li);
  };
  for (const use of memory.roles ?? []) if (use.bytes > 0) line(use.role, use.bytes);
  line("accounted for", memory.used);
  if (memory.budget > 0) line("budget", memory.budget);
  if (memory.process > 0) line("process, says the system", memory.process);
}

const history = { tokens: [], rows: [] };
let before = null;

function push(list, v) {
  list.push(v);
  if (list.length > samples) list.shift();
}

// show draws one sample; rates are differences to the sample before.
function show(s) {
  const ple = s.figures?.ple;
  if (before && s.time > before.time) {
    const seconds = s.time - before.time;
    const tokens = Math.max(0, s.load.generated_tokens - before.load.generated_tokens) / seconds;
    push(history.tokens, tokens);
    plot("tps", history.tokens);
    if (ple) {
      const old = before.figures.ple;
      const rows = (ple.rows - old.rows) / seconds;
      push(history.rows, rows);
      plot("rps", history.rows);
      const weights = s.figures.weights.read_bytes - before.figures.weights.read_bytes;
      byId("disk").textContent = bytes((ple.read_bytes - old.read_bytes + weights) / seconds) + "/s";
      byId("wait").textContent = (100 * (ple.wait_seconds - old.wait_seconds) / seconds).toFixed(2) + " % of the time";
    }
  }
  if (ple) byId("hits").textContent = ple.rows > 0 ? (100 * ple.cache_hits / ple.rows).toFixed(0) + " % of " + ple.rows.toLocaleString() : "none yet";
  byId("busy").textContent = s.load.running + " / " + s.load.waiting;
  byId("place").textContent = sentence(s.figures?.ple_place ?? "");
  tiers(s);
  if (s.figures) roles(s.figures.memory);
  before = s;
}

// start polls until the page goes; nothing is asked while it is hidden.
export function start(fetchStats, first) {
  let told = false;
  const tick = async () => {
    if (document.hidden) return;
    try {
      const s = await fetchStats();
      show(s);
      if (!told) first(s);
      told = true;
    } catch {
      byId("busy").textContent = "no answer";
      before = null;
    }
  };
  tick();
  setInterval(tick, 1000);
}
