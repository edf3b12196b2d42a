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
export const user = (content) => [{ role: "user", content }];
export const fox = user("Tell me a story about a fox.");
export const weather = {
  type: "object",
  properties: { city: { type: "string", enum: ["Paris", "Rome"] }, days: { type: "integer", minimum: 1, maximum: 3 } },
  required: ["city", "days"],
  additionalProperties: false,
};

// asWeather checks that a value has the form that was asked for.
export function asWeather(v) {
  assert.ok(["Paris", "Rome"].includes(v.city), JSON.stringify(v));
  assert.ok(Number.isInteger(v.days) && v.days >= 1 && v.days <= 3, JSON.stringify(v));
}

// settled waits until no answer is being computed.
export async function settled() {
  for (let i = 0; i < 100; i++) {
    const s = await (await fetch(url + "/api/plume/stats", { headers: { Authorization: "Bearer " + key } })).json();
    if (s.load.running === 0) return;
    await new Promise((next) => setTimeout(next, 50));
  }
  assert.fail("an answer that nobody waits for still runs");
}
