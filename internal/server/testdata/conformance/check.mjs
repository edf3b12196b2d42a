// What the tests of all clients share.
import assert from "node:assert/strict";

export { assert };

const failed = [];

// check runs one case and goes on after a failure.
export async function check(name, f) {
  try {
    await f();
    console.log("ok  ", name);
  } catch (e) {
    failed.push(name);
    console.log("FAIL", name, "\n", e);
  }
}

// done ends the program with what was found.
export function done() {
  if (failed.length) {
    console.log(`${failed.length} failed: ${failed.join(", ")}`);
    process.exit(1);
  }
}

// rejects runs f, which must throw, and returns what it threw.
export async function rejects(f) {
  try {
    await f();
  } catch (e) {
    return e;
  }
  assert.fail("nothing was thrown");
}

export const url = process.argv[2];
export const key = process.argv[3];
export const hasty = process.argv[4]; // a server that gives answers two seconds, which 4000 tokens outlast
export const user = (content) => [{ role: "user", content }];
export const fox = user("Tell me a story about a fox.");
export const weather = {
  type: "object",
  properties: { city: { type: "string", enum: ["Paris", "Rome"] }, days: { type: "integer", minimum: 1, maximum: 3 } },
  required: ["city", "days"],
  additionalProperties: false,
};

// asWord checks that an answer without calls says something.
export function asWord(text) {
  assert.equal(typeof text, "string");
  assert.ok(text.trim().length > 0, JSON.stringify(text));
}

// asWeather checks that a value has the form that was asked for.
export function asWeather(v) {
  assert.ok(["Paris", "Rome"].includes(v.city), JSON.stringify(v));
  assert.ok(Number.isInteger(v.days) && v.days >= 1 && v.days <= 3, JSON.stringify(v));
}

// numbers is a form whose answers cannot end by themselves within a test.
export const numbers = {
  type: "object",
  properties: { numbers: { type: "array", minItems: 2000, items: { type: "integer" } } },
  required: ["numbers"],
  additionalProperties: false,
};

const ask = (path) => fetch(url + path, { headers: { Authorization: "Bearer " + key } });

// cancelled returns how many answers have ended because their clients left.
async function cancelled() {
  const text = await (await ask("/metrics")).text();
  return Number(/^plume_answers_total\{finish="cancelled"\} (\d+)/m.exec(text)?.[1] ?? 0);
}

// leaves runs f, which leaves an answer that does not end by itself. That answer, and no
// other, must end as cancelled, soon.
export async function leaves(f) {
  const before = await cancelled();
  await f();
  for (let i = 0; i < 100; i++) {
    const s = await (await ask("/api/plume/stats")).json();
    if (s.load.running === 0 && (await cancelled()) === before + 1) return;
    await new Promise((next) => setTimeout(next, 50));
  }
  assert.fail("an answer that nobody waits for was not cancelled");
}

// breaksOff reads a stream of hasty's that would not end by itself. What comes first must
// have come, and then the client must throw, which cutOff looks at.
export async function breaksOff(stream, cutOff) {
  let pieces = 0;
  const e = await rejects(async () => { for await (const _ of await stream()) pieces++; });
  assert.ok(pieces > 5, `${pieces} pieces before ${e}`);
  cutOff(e);
}

// seeded tries seeds until f finds what it looks for and returns it. The demo model was
// never taught to think or to call; what it draws among the tokens that it may is chance.
export async function seeded(f) {
  for (let seed = 1; seed <= 60; seed++) {
    const found = await f(seed);
    if (found) return found;
  }
  assert.fail("not once in 60 tries");
}
