import { Ollama } from "ollama";
import { assert, asWeather, asWord, breaksOff, check, done, fox, hasty, key, leaves, numbers, rejects, seeded, url, user, weather } from "./check.mjs";

const client = new Ollama({ host: url, headers: { Authorization: "Bearer " + key } });
const model = "demo";

await check("ollama: list, show, ps, version, pull of what is there", async () => {
  assert.ok((await client.list()).models.some((m) => m.name === "demo"));
  assert.ok((await client.show({ model })).capabilities.includes("completion"));
  assert.equal((await client.ps()).models.length, 1);
  assert.ok((await client.version()).version.length > 0);
  assert.equal((await client.pull({ model })).status, "success");
});

await check("ollama: chat, whole and streamed", async () => {
  const options = { num_predict: 20, temperature: 0 };
  const whole = await client.chat({ model, messages: fox, options });
  assert.equal(whole.done_reason, "length");
  assert.equal(whole.eval_count, 20);
  let text = "", last;
  for await (const part of await client.chat({ model, messages: fox, options, stream: true })) {
    text += part.message.content;
    last = part;
  }
  assert.equal(text, whole.message.content);
  assert.ok(last.done && last.prompt_eval_count > 0);
});

await check("ollama: generate", async () => {
  const r = await client.generate({ model, prompt: "Once upon", raw: true, options: { num_predict: 5 } });
  assert.ok(r.response.length > 0);
  assert.equal((await client.generate({ model, prompt: "" })).done_reason, "load");
  let text = "";
  for await (const part of await client.generate({ model, prompt: "Tell me a story.", system: "Be brief.", stream: true, options: { num_predict: 5 } })) text += part.response;
  assert.ok(text.length > 0);
});

await check("ollama: structured output", async () => {
  const r = await client.chat({ model, messages: user("Weather?"), format: weather, options: { num_predict: 200 } });
  asWeather(JSON.parse(r.message.content));
});

await check("ollama: a conversation with tools", async () => {
  const r = await client.chat({
    model, options: { num_predict: 5 },
    tools: [{ type: "function", function: { name: "get_weather", description: "Weather", parameters: weather } }],
    messages: [...user("Weather?"), { role: "assistant", content: "", tool_calls: [{ function: { name: "get_weather", arguments: { city: "Rome", days: 1 } } }] }, { role: "tool", tool_name: "get_weather", content: "sunny" }],
  });
  assert.equal(r.eval_count, 5);
  if (!r.message.tool_calls) asWord(r.message.content);
});

await check("ollama: errors", async () => {
  assert.match((await rejects(() => client.chat({ model: "llama3", messages: fox }))).message, /llama3/);
  const bad = await rejects(() => client.chat({ model, messages: fox, options: { top_p: 3 } }));
  assert.equal(bad.status_code, 400);
  assert.match(bad.message, /top_p/);
});

await check("ollama: streamed errors", async () => {
  const bad = await rejects(() => client.chat({ model, messages: fox, stream: true, options: { top_p: 3 } }));
  assert.equal(bad.status_code, 400);
  assert.match(bad.message, /top_p/);
  const short = new Ollama({ host: hasty, headers: { Authorization: "Bearer " + key } });
  await breaksOff(() => short.chat({ model, messages: fox, stream: true, format: numbers, options: { num_predict: -1 } }), (e) => assert.match(e.message, /longer than this server allows/));
});

await check("ollama: calls and thoughts of the model, whole and streamed", async () => {
  // With a form, tools and thinking the first token begins a word of the form, a call or a
  // thought, and at this temperature each is about as likely.
  const base = {
    model, messages: user("Weather?"), format: { enum: ["hen", "fox"] }, think: true,
    tools: [{ type: "function", function: { name: "get_weather", parameters: weather } }],
  };
  const options = (seed) => ({ seed, num_predict: 60, temperature: 10, top_k: 0, top_p: 1 });
  const streamed = async (seed) => {
    const said = { thinking: "", tool_calls: [] };
    for await (const part of await client.chat({ ...base, stream: true, options: options(seed) })) {
      said.thinking += part.message.thinking ?? "";
      said.tool_calls.push(...(part.message.tool_calls ?? []));
    }
    return said;
  };
  await seeded(async (seed) => {
    const r = await client.chat({ ...base, options: options(seed) });
    if (r.done_reason !== "stop" || !r.message.tool_calls?.length) return false;
    asWeather(r.message.tool_calls[0].function.arguments);
    assert.deepEqual((await streamed(seed)).tool_calls.map((c) => c.function.arguments), r.message.tool_calls.map((c) => c.function.arguments));
    return true;
  });
  await seeded(async (seed) => {
    const r = await client.chat({ ...base, options: options(seed) });
    if (!r.message.thinking) return false;
    assert.equal((await streamed(seed)).thinking, r.message.thinking);
    return true;
  });
});

await check("ollama: generate with a form; json; keep_alive; what is refused", async () => {
  const r = await client.generate({ model, prompt: "Weather?", format: weather, keep_alive: "5m", options: { num_predict: 200 } });
  asWeather(JSON.parse(r.response));
  let text = "";
  for await (const part of await client.generate({ model, prompt: "Weather?", format: weather, stream: true, options: { num_predict: 200 } })) text += part.response;
  asWeather(JSON.parse(text));
  const json = await client.chat({ model, messages: user("Weather?"), format: "json", options: { num_predict: 400, temperature: 0 } });
  if (json.done_reason === "stop") assert.equal(typeof JSON.parse(json.message.content), "object");
  else assert.match(json.message.content, /^\{./);
  assert.equal((await client.chat({ model, messages: [], keep_alive: 0 })).done_reason, "unload");
  const lp = await client.chat({ model, messages: fox, logprobs: true, top_logprobs: 2, options: { num_predict: 3 } });
  assert.equal(lp.logprobs.length, 3);
  for (const [field, f] of Object.entries({
    images: () => client.chat({ model, messages: [{ role: "user", content: "Hi", images: ["AAAA"] }] }),
    keep_alive: () => client.generate({ model, prompt: "Hi", keep_alive: "for ever" }),
    "options.num_ctx": () => client.generate({ model, prompt: "Hi", options: { num_ctx: 1 << 29 } }),
    suffix: () => client.generate({ model, prompt: "Hi", suffix: "x", stream: true }),
    format: () => client.chat({ model, messages: fox, format: "xml", stream: true }),
  })) {
    const e = await rejects(f);
    assert.equal(e.status_code, 400, field);
    assert.ok(e.message.includes(field), e.message);
  }
});

await check("ollama: cancellation", () => leaves(async () => {
  const stream = await client.chat({ model, messages: fox, stream: true, format: numbers });
  await rejects(async () => { for await (const _ of stream) stream.abort(); });
}));

done();
