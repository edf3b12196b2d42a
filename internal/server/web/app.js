// The chat: one conversation, kept in this page only, over /v1/chat/completions.

import { render } from "./markdown.js";
import { start as startPanel } from "./panel.js";

const byId = (id) => document.getElementById(id);
const make = (tag, className, text) => {
  const node = document.createElement(tag);
  if (className) node.className = className;
  if (text !== undefined) node.textContent = text;
  return node;
};

const log = byId("log"), prompt = byId("prompt"), notice = byId("notice");
const numbers = ["temperature", "top_p", "top_k", "min_p", "max_tokens", "seed"];
const examples = ["Tell me a story about a fox.", "Once there was a small boat", "Why do leaves fall?"];

let messages = []; // in OpenAI's form, without the system prompt
let running = null; // AbortController of the answer that comes

// ---- settings -------------------------------------------------------------

function loadSettings() {
  const saved = JSON.parse(localStorage.getItem("plume.settings") ?? "{}");
  for (const id of [...numbers, "system", "tools"]) byId(id).value = saved[id] ?? "";
  byId("thinking").checked = saved.thinking ?? false;
  byId("key").value = sessionStorage.getItem("plume.key") ?? "";
}

function saveSettings() {
  const saved = { thinking: byId("thinking").checked };
  for (const id of [...numbers, "system", "tools"]) saved[id] = byId(id).value;
  localStorage.setItem("plume.settings", JSON.stringify(saved));
  sessionStorage.setItem("plume.key", byId("key").value);
}

function headers() {
  const h = { "Content-Type": "application/json" };
  if (byId("key").value) h.Authorization = "Bearer " + byId("key").value;
  return h;
}

// request builds the body from the settings; it throws where they are wrong.
function request() {
  const body = { messages: [...messages], stream: true, stream_options: { include_usage: true } };
  if (byId("system").value.trim()) body.messages.unshift({ role: "system", content: byId("system").value });
  for (const id of numbers) {
    const text = byId(id).value.trim();
    if (text !== "") body[id] = Number(text);
  }
  if (byId("thinking").checked) body.reasoning_effort = "medium";
  const tools = byId("tools").value.trim();
  if (tools) {
    try {
      body.tools = JSON.parse(tools);
    } catch (e) {
      throw new Error("The tools in the settings are not JSON: " + e.message);
    }
  }
  return body;
}

// ---- theme and layout -----------------------------------------------------

const themes = [["", "◐", "as the system"], ["light", "☀", "light"], ["dark", "☾", "dark"]];

function setTheme(name) {
  const [, sign, text] = themes.find((t) => t[0] === name) ?? themes[0];
  if (name) document.documentElement.dataset.theme = name;
  else delete document.documentElement.dataset.theme;
  byId("theme").textContent = sign;
  byId("theme").setAttribute("aria-label", "Colours: " + text);
  byId("theme").title = "Colours: " + text;
  localStorage.setItem("plume.theme", name);
}

function setSide(open) {
  document.querySelector("main").classList.toggle("narrow", !open);
  byId("side-toggle").setAttribute("aria-expanded", String(open));
}

function tell(text) {
  notice.textContent = text;
  notice.hidden = !text;
}

// ---- turns ----------------------------------------------------------------

const nearEnd = () => log.scrollHeight - log.scrollTop - log.clientHeight < 80;
const toEnd = () => { log.scrollTop = log.scrollHeight; };

function addUser(text) {
  const turn = make("div", "turn user");
  turn.append(make("div", "who", "You"), make("div", "body", text));
  log.append(turn);
  toEnd();
}

// Turn shows one answer while it comes.
class Turn {
  constructor() {
    this.node = make("div", "turn assistant");
    this.thought = make("details", "thought");
    this.thought.hidden = true;
    this.thoughtText = make("div");
    this.thought.append(make("summary", "", "Thinking…"), this.thoughtText);
    this.body = make("div", "body caret");
    this.calls = make("div", "calls");
    this.foot = make("div", "foot");
    this.node.append(make("div", "who", "Model"), this.thought, this.body, this.calls, this.foot);
    log.append(this.node);
    this.message = { role: "assistant", content: "" };
    this.begun = performance.now();
    this.first = 0;
    this.dirty = false;
    toEnd();
  }

  add(delta) {
    if (!this.first && (delta.content || delta.reasoning_content || delta.tool_calls)) this.first = performance.now();
    if (delta.reasoning_content) {
      this.message.reasoning_content = (this.message.reasoning_content ?? "") + delta.reasoning_content;
      this.thought.hidden = false;
    }
    if (delta.content) this.message.content += delta.content;
    for (const call of delta.tool_calls ?? []) {
      const { index, ...rest } = call;
      (this.message.tool_calls ??= [])[index] = rest;
    }
    this.draw();
  }

  // draw renders at most once per frame, however fast the tokens come.
  draw() {
    if (this.dirty) return;
    this.dirty = true;
    requestAnimationFrame(() => {
      this.dirty = false;
      const follow = nearEnd();
      this.thoughtText.textContent = this.message.reasoning_content ?? "";
      render(this.body, this.message.content);
      if (follow) toEnd();
    });
  }

  // end closes the turn. usage is null when the answer was cut off.
  end(finish, usage) {
    const follow = nearEnd(); // before what is added below it
    this.body.classList.remove("caret");
    this.thought.querySelector("summary").textContent = "Thought";
    this.body.hidden = !this.message.content;
    this.draw();
    const words = [];
    if (usage) {
      const seconds = (performance.now() - this.first) / 1000;
      words.push(`${usage.completion_tokens} tokens`);
      if (usage.completion_tokens > 1 && seconds > 0) words.push(`${((usage.completion_tokens - 1) / seconds).toFixed(1)} tok/s`);
      words.push(`first after ${((this.first - this.begun) / 1000).toFixed(2)} s`);
      const cached = usage.prompt_tokens_details?.cached_tokens;
      words.push(`prompt ${usage.prompt_tokens}${cached ? `, ${cached} of it computed before` : ""}`);
    }
    if (finish === "length") words.push("cut off: longest answer reached");
    if (finish === "stopped") words.push("stopped");
    this.foot.replaceChildren(...(words.length ? [make("span", "", words.join(" · "))] : []));
    if (this.message.content) this.button("Copy", () => navigator.clipboard?.writeText(this.message.content));
    this.button("Regenerate", regenerate, "regenerate");
    for (const call of this.message.tool_calls ?? []) this.calls.append(callCard(call));
    if (this.message.tool_calls?.length) this.calls.append(this.answerButton());
    if (follow) toEnd();
  }

  button(text, action, className = "") {
    const b = make("button", "quiet " + className, text);
    b.type = "button";
    b.addEventListener("click", action);
    this.foot.append(b);
  }

  // answerButton sends what was typed as the tools' answers.
  answerButton() {
    const b = make("button", "", "Send the tools' answers");
    b.type = "button";
    b.addEventListener("click", () => {
      if (running) return;
      b.remove();
      for (const card of this.calls.querySelectorAll(".call")) {
        const box = card.querySelector("textarea");
        box.readOnly = true;
        messages.push({ role: "tool", tool_call_id: card.dataset.id, content: box.value });
      }
      generate();
    });
    return b;
  }
}

function callCard(call) {
  const card = make("div", "call");
  card.dataset.id = call.id;
  let args = call.function.arguments;
  try {
    args = JSON.stringify(JSON.parse(args), null, 2);
  } catch { /* shown as it is */ }
  const box = make("textarea");
  box.rows = 2;
  box.placeholder = "What the tool answers";
  box.setAttribute("aria-label", "Answer of " + call.function.name);
  card.append(make("span", "name", "Tool call: " + call.function.name), make("pre", "", args), box);
  return card;
}

// ---- generating -----------------------------------------------------------

// events yields the data of server-sent events.
async function* events(response) {
  const reader = response.body.pipeThrough(new TextDecoderStream()).getReader();
  let held = "";
  for (;;) {
    const { value, done } = await reader.read();
    if (done) return;
    held += value;
    for (let at; (at = held.indexOf("\n\n")) >= 0; held = held.slice(at + 2)) {
      for (const line of held.slice(0, at).split("\n")) {
        if (line.startsWith("data: ")) yield line.slice(6);
      }
    }
  }
}

async function generate() {
  let body;
  try {
    body = request();
  } catch (e) {
    tell(e.message);
    return;
  }
  tell("");
  document.querySelectorAll(".regenerate").forEach((b) => b.remove());
  busy(new AbortController());
  const turn = new Turn();
  let finish = "", usage = null;
  try {
    const response = await fetch("v1/chat/completions", { method: "POST", headers: headers(), body: JSON.stringify(body), signal: running.signal });
    if (!response.ok) throw new Error((await response.json()).error?.message ?? response.statusText);
    for await (const data of events(response)) {
      if (data === "[DONE]") break;
      const chunk = JSON.parse(data);
      if (chunk.error) throw new Error(chunk.error.message);
      if (chunk.usage) usage = chunk.usage;
      const choice = chunk.choices[0];
      if (!choice) continue;
      turn.add(choice.delta);
      finish = choice.finish_reason ?? finish;
    }
    if (!finish) throw new Error("The answer ended early: the server went away.");
  } catch (e) {
    if (e.name === "AbortError") finish = "stopped";
    else tell(e.message);
  }
  busy(null);
  const said = turn.message.content || turn.message.tool_calls || turn.message.reasoning_content;
  if (said || finish) {
    messages.push(turn.message);
    turn.end(finish, usage);
  } else {
    turn.node.remove(); // refused before the first token; the question stays, to be sent again
    const asked = messages.at(-1);
    if (asked?.role === "user") {
      messages.pop();
      log.lastElementChild?.remove();
      prompt.value = asked.content;
      resize();
    }
  }
}

function busy(controller) {
  running = controller;
  byId("send").hidden = Boolean(controller);
  byId("stop").hidden = !controller;
  byId("new").disabled = Boolean(controller);
}

function regenerate() {
  if (running || messages.at(-1)?.role !== "assistant") return;
  messages.pop();
  log.lastElementChild.remove();
  generate();
}

function send(text) {
  text = text.trim();
  if (!text || running) return;
  byId("welcome").hidden = true;
  prompt.value = "";
  resize();
  messages.push({ role: "user", content: text });
  addUser(text);
  generate();
}

function newChat() {
  if (running) return;
  messages = [];
  log.querySelectorAll(".turn").forEach((node) => node.remove());
  byId("welcome").hidden = false;
  tell("");
  prompt.focus();
}

function resize() {
  prompt.style.height = "auto";
  prompt.style.height = prompt.scrollHeight + 2 + "px";
}

// ---- wiring ---------------------------------------------------------------

async function fetchStats() {
  const response = await fetch("api/plume/stats", { headers: headers() });
  if (response.status === 401) tell("This server wants an API key: settings, API key.");
  if (!response.ok) throw new Error(response.statusText);
  return response.json();
}

// firstStats fills in what only the server knows.
function firstStats(s) {
  byId("model").textContent = s.model.id + (s.model.quantization ? " · " + s.model.quantization : "") + " · " + s.model.context.toLocaleString() + " tokens of context";
  document.title = "plume · " + s.model.id;
  for (const id of ["temperature", "top_p", "top_k", "min_p"]) byId(id).placeholder = String(+s.sampling[id].toFixed(3));
  byId("thinking").disabled = !s.model.thinking;
  byId("thinking").parentElement.title = s.model.thinking ? "" : "this model was not taught to think";
  byId("tools").disabled = !s.model.tools;
  if (!s.model.tools) byId("tools").placeholder = "this model was not taught to call tools";
}

byId("composer").addEventListener("submit", (e) => { e.preventDefault(); send(prompt.value); });
byId("settings").addEventListener("submit", (e) => e.preventDefault());
byId("settings").addEventListener("change", saveSettings);
byId("stop").addEventListener("click", () => running?.abort());
byId("new").addEventListener("click", newChat);
byId("reset").addEventListener("click", () => {
  for (const id of numbers) byId(id).value = "";
  saveSettings();
});
byId("theme").addEventListener("click", () => {
  const now = themes.findIndex((t) => t[0] === (document.documentElement.dataset.theme ?? ""));
  setTheme(themes[(now + 1) % themes.length][0]);
});
byId("side-toggle").addEventListener("click", () => setSide(byId("side-toggle").getAttribute("aria-expanded") !== "true"));
prompt.addEventListener("input", resize);
prompt.addEventListener("keydown", (e) => {
  if (e.key === "Enter" && !e.shiftKey && !e.isComposing) {
    e.preventDefault();
    send(prompt.value);
  }
});
document.addEventListener("keydown", (e) => {
  const typing = e.target.closest?.("input, textarea");
  if (e.key === "Escape") running?.abort();
  if (e.key === "/" && !typing) {
    e.preventDefault();
    prompt.focus();
  }
});
for (const text of examples) {
  const b = make("button", "quiet", text);
  b.type = "button";
  b.addEventListener("click", () => send(text));
  byId("starters").appendChild(make("li")).append(b);
}

setTheme(localStorage.getItem("plume.theme") ?? "");
setSide(matchMedia("(min-width: 56rem)").matches);
loadSettings();
startPanel(fetchStats, firstStats);
