// Drives the page in a real browser and takes screenshots. Run by scripts/web-test.sh:
//
//	node page.mjs URL FOLDER
//
// It fails when something does not work, when the browser reports an error (a
// breach of the content security policy among them), or when a control has no
// name for people who cannot see it.

import { chromium } from "playwright-core";
import assert from "node:assert/strict";

const [url, out] = process.argv.slice(2);
const browser = await chromium.launch({ executablePath: process.env.CHROMIUM ?? "/usr/bin/chromium", args: ["--no-sandbox"] });
const complaints = [];

async function open(options) {
  const context = await browser.newContext({ viewport: { width: 1280, height: 800 }, ...options });
  const page = await context.newPage();
  page.on("console", (m) => { if (m.type() === "error") complaints.push(m.text()); });
  page.on("pageerror", (e) => complaints.push(String(e)));
  page.on("request", (r) => { if (!r.url().startsWith(url)) complaints.push("asks elsewhere: " + r.url()); });
  await page.goto(url);
  await page.waitForFunction(() => document.getElementById("model").textContent !== "");
  return page;
}

const idle = (page) => page.waitForFunction(() => document.getElementById("stop").hidden && document.querySelector(".turn.assistant .foot button"));
const atEnd = (page) => page.waitForFunction(() => { const l = document.getElementById("log"); return l.scrollHeight - l.scrollTop - l.clientHeight < 2; });
const shot = (page, name) => page.screenshot({ path: `${out}/${name}.png` });

async function step(name, f) {
  await f();
  console.log("ok", name);
}

// ---- light, wide ------------------------------------------------------------
let page = await open({ colorScheme: "light" });
await step("welcome", () => shot(page, "1-welcome-light"));
await step("every control has a name", async () => {
  const nameless = await page.$$eval("button, input, textarea, summary, svg[role=img]", (nodes) => nodes
    .filter((n) => !(n.getAttribute("aria-label") || n.textContent.trim() || n.labels?.length || n.title)).map((n) => n.outerHTML));
  assert.deepEqual(nameless, []);
});
await step("chat by keyboard", async () => {
  await page.fill("#seed", "7");
  await page.fill("#max_tokens", "120");
  await page.focus("#prompt");
  await page.keyboard.type("Tell me a story about a fox.");
  await page.keyboard.press("Shift+Enter");
  await page.keyboard.type("Make it short.");
  await page.keyboard.press("Enter");
  await idle(page);
  const text = await page.textContent(".turn.assistant .body");
  assert.ok(text.length > 20, "an answer: " + text);
  assert.match(await page.textContent(".turn.assistant .foot"), /\d+ tokens/);
});
await step("regenerate gives one answer in the place of the old", async () => {
  const before = await page.textContent(".turn.assistant .body");
  await page.click(".regenerate");
  await idle(page);
  assert.equal(await page.locator(".turn.assistant").count(), 1);
  assert.equal(await page.textContent(".turn.assistant .body"), before, "the same seed gives the same answer");
});
await step("stop", async () => {
  // An answer that cannot end by itself: its form asks for 2,000 numbers.
  const form = { type: "json_schema", json_schema: { name: "numbers", schema: { type: "array", minItems: 2000, items: { type: "integer" } } } };
  await page.route("**/v1/chat/completions", (route) => route.continue({ postData: JSON.stringify({ ...route.request().postDataJSON(), response_format: form }) }));
  await page.fill("#max_tokens", "");
  await page.fill("#prompt", "Tell me many numbers.");
  await page.click("#send");
  await page.waitForFunction(() => document.querySelectorAll(".turn.assistant .body")[1]?.textContent.length > 0);
  await page.focus("#log");
  await page.keyboard.press("Escape");
  await page.waitForFunction(() => document.getElementById("stop").hidden);
  assert.match(await page.locator(".turn.assistant .foot").nth(1).textContent(), /stopped/);
  await page.unroute("**/v1/chat/completions");
  await page.waitForFunction(async () => (await (await fetch("/api/plume/stats")).json()).load.running === 0);
});
await step("live panel moves", async () => {
  await page.waitForFunction(() => document.querySelector("#tps-plot .line") && document.querySelectorAll("#tiers rect").length === 2);
  await page.waitForFunction(() => /%/.test(document.getElementById("hits").textContent));
});
await step("memory by purpose", async () => {
  await page.evaluate(() => document.getElementById("side").scrollTo(0, 0)); // the browser has followed the settings
  await shot(page, "2-chat-light");
  await page.click("#side details summary");
  assert.ok(await page.locator("#roles li").count() > 5);
});
await step("an error is shown and the question kept", async () => {
  await page.fill("#temperature", "9");
  await page.fill("#prompt", "Hello");
  await page.click("#send");
  await page.waitForSelector("#notice:not([hidden])");
  assert.match(await page.textContent("#notice"), /temperature/);
  assert.equal(await page.inputValue("#prompt"), "Hello");
  complaints.splice(0, complaints.length, ...complaints.filter((c) => !c.includes("400"))); // the browser reports the status
  await page.fill("#temperature", "");
});
await step("new chat", async () => {
  await page.click("#new");
  assert.equal(await page.locator(".turn").count(), 0);
  assert.ok(await page.isVisible("#welcome"));
});
await step("hostile text stays text", async () => {
  const html = await page.evaluate(async () => {
    const { render } = await import("/markdown.js");
    const node = document.createElement("div");
    render(node, "# T\n<img src=x onerror=alert(1)> **b** `<i>` [x](javascript:alert(1)) [ok](https://example.com)\n\n- a\n  - b\n1. c\n\n```js\n<script>1</script>\n```\n> q\n\n*em* a*b*c snake_case_name 2*3*4\n\n---");
    return node.innerHTML;
  });
  assert.doesNotMatch(html, /<img|<script|href="javascript/);
  for (const want of ["<h2>T</h2>", "<strong>b</strong>", "<code>&lt;i&gt;</code>", 'href="https://example.com"', "<ul><li>a<ul><li>b</li></ul></li></ul>", "<ol", "<pre><code>&lt;script&gt;", "<blockquote><p>q</p>", "<em>em</em>", "snake_case_name", "<hr>"]) {
    assert.ok(html.includes(want), want + " in " + html);
  }
});

// ---- thoughts and tool calls, from a scripted answer --------------------------
await step("thoughts and tool calls", async () => {
  const asked = [];
  await page.route("**/v1/chat/completions", async (route) => {
    asked.push(route.request().postDataJSON());
    const chunk = (delta, finish = null) => `data: ${JSON.stringify({ choices: [{ index: 0, delta, finish_reason: finish }] })}\n\n`;
    const body = asked.length === 1
      ? chunk({ role: "assistant", content: "" }) + chunk({ reasoning_content: "They want the weather. I have a tool for that." }) + chunk({ content: "Let me **look**." }) +
        chunk({ tool_calls: [{ index: 0, id: "call_1", type: "function", function: { name: "get_weather", arguments: '{"city":"Paris","days":3}' } }] }) + chunk({}, "tool_calls")
      : chunk({ content: "It is sunny in Paris:\n\n| no | table |\n\n1. today\n2. tomorrow\n\n```\n22 °C\n```" }) + chunk({}, "stop");
    await route.fulfill({ contentType: "text/event-stream", body: body + "data: [DONE]\n\n" });
  });
  await page.fill("#prompt", "How is the weather in Paris?");
  await page.click("#send");
  await page.waitForSelector(".call");
  await page.click(".thought summary");
  assert.match(await page.textContent(".thought"), /I have a tool/);
  await page.fill(".call textarea", '{"sky":"sunny"}');
  await page.click(".calls > button");
  await page.waitForSelector(".turn.assistant:last-child ol");
  await atEnd(page);
  assert.equal(asked[1].messages.at(-1).tool_call_id, "call_1");
  assert.equal(asked[1].messages.at(-1).content, '{"sky":"sunny"}');
  assert.equal(asked[1].messages.at(-2).reasoning_content.length > 0, true);
  await shot(page, "3-tools-light");
  await page.unroute("**/v1/chat/completions");
});

// ---- dark, by the system and by the button ----------------------------------
page = await open({ colorScheme: "dark" });
await step("dark", async () => {
  await page.click("#starters button");
  await idle(page);
  await page.waitForTimeout(2200); // two more samples for the plot
  await shot(page, "4-chat-dark");
});
await step("theme button", async () => {
  await page.click("#theme");
  assert.equal(await page.evaluate(() => document.documentElement.dataset.theme), "light");
  await page.click("#theme");
  assert.equal(await page.evaluate(() => document.documentElement.dataset.theme), "dark");
});

// ---- mobile -------------------------------------------------------------------
page = await open({ colorScheme: "light", viewport: { width: 390, height: 844 }, isMobile: true, hasTouch: true });
await step("mobile", async () => {
  await page.fill("#prompt", "Once there was a small boat");
  await page.tap("#send");
  await idle(page);
  assert.ok(await page.evaluate(() => document.documentElement.scrollWidth <= innerWidth), "no sideways scrolling");
  await atEnd(page); // where the figures and the buttons of the answer are
  await shot(page, "5-mobile");
  await page.tap("#side-toggle");
  await page.waitForTimeout(1200);
  await shot(page, "6-mobile-panel");
});

await browser.close();
assert.deepEqual(complaints, []);
console.log("no complaints from the browser");
