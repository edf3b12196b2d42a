import Anthropic from "@anthropic-ai/sdk";
import { assert, asWeather, asWord, breaksOff, check, done, fox, hasty, key, leaves, numbers, rejects, seeded, url, user, weather } from "./check.mjs";

const client = new Anthropic({ baseURL: url, apiKey: key, maxRetries: 0 });
const model = "demo";

await check("anthropic: models", async () => {
  const ids = [];
  for await (const m of client.models.list()) ids.push(m.id);
  assert.deepEqual(ids, ["demo"]);
});

await check("anthropic: message", async () => {
  const r = await client.messages.create({ model, max_tokens: 12, messages: fox, system: "Be brief.", metadata: { user_id: "x" } });
  assert.equal(r.stop_reason, "max_tokens");
  assert.ok(r.content[0].text.length > 0);
  assert.equal(r.usage.output_tokens, 12);
  const stopped = await client.messages.create({ model, max_tokens: 200, messages: fox, temperature: 0, stop_sequences: ["."] });
  assert.equal(stopped.stop_reason, "stop_sequence");
  assert.equal(stopped.stop_sequence, ".");
});

await check("anthropic: streamed, the same text", async () => {
  const whole = await client.messages.create({ model, max_tokens: 20, temperature: 0, messages: fox });
  const stream = client.messages.stream({ model, max_tokens: 20, temperature: 0, messages: fox });
  let text = "";
  stream.on("text", (t) => { text += t; });
  const final = await stream.finalMessage();
  assert.equal(text, whole.content[0].text);
  assert.equal(final.stop_reason, "max_tokens");
  assert.equal(final.usage.output_tokens, 20);
});

await check("anthropic: a forced tool call and its answer", async () => {
  const tools = [{ name: "get_weather", description: "Weather", input_schema: weather }];
  const tool_choice = { type: "tool", name: "get_weather", disable_parallel_tool_use: true };
  const r = await client.messages.create({ model, max_tokens: 200, messages: user("Weather?"), tools, tool_choice });
  const use = r.content.find((b) => b.type === "tool_use");
  assert.equal(r.stop_reason, "tool_use");
  asWeather(use.input);
  const final = await client.messages.stream({ model, max_tokens: 200, messages: user("Weather?"), tools, tool_choice }).finalMessage();
  asWeather(final.content.find((b) => b.type === "tool_use").input);
  const next = await client.messages.create({
    model, max_tokens: 5, tools, tool_choice: { type: "none" },
    messages: [...user("Weather?"), { role: "assistant", content: r.content }, { role: "user", content: [{ type: "tool_result", tool_use_id: use.id, content: "sunny" }] }],
  });
  assert.ok(next.content.length > 0);
});

await check("anthropic: structured output", async () => {
  const r = await client.messages.create({ model, max_tokens: 200, messages: user("Weather?"), output_config: { format: { type: "json_schema", schema: weather } } });
  asWeather(JSON.parse(r.content[0].text));
});

await check("anthropic: count_tokens agrees with usage", async () => {
  const n = await client.messages.countTokens({ model, messages: fox });
  const r = await client.messages.create({ model, max_tokens: 1, messages: fox });
  assert.equal(n.input_tokens, r.usage.input_tokens + r.usage.cache_read_input_tokens);
});

await check("anthropic: errors", async () => {
  const bad = await rejects(() => client.messages.create({ model, max_tokens: 5, temperature: 2, messages: fox }));
  assert.ok(bad instanceof Anthropic.BadRequestError);
  assert.match(bad.message, /temperature/);
  assert.ok((await rejects(() => client.messages.create({ model: "claude", max_tokens: 5, messages: fox }))) instanceof Anthropic.NotFoundError);
  const stranger = new Anthropic({ baseURL: url, apiKey: "wrong", maxRetries: 0 });
  assert.ok((await rejects(() => stranger.messages.create({ model, max_tokens: 5, messages: fox }))) instanceof Anthropic.AuthenticationError);
});

await check("anthropic: streamed errors", async () => {
  const bad = await rejects(() => client.messages.stream({ model, max_tokens: 5, temperature: 2, messages: fox }).finalMessage());
  assert.ok(bad instanceof Anthropic.BadRequestError);
  assert.match(bad.message, /temperature/);
  const short = new Anthropic({ baseURL: hasty, apiKey: key, maxRetries: 0 });
  const output_config = { format: { type: "json_schema", schema: numbers } };
  await breaksOff(() => short.messages.create({ model, max_tokens: 4000, messages: fox, output_config, stream: true }), (e) => {
    assert.ok(e instanceof Anthropic.APIError);
    assert.match(e.message, /timeout_error/);
  });
});

await check("anthropic: thoughts, whole and streamed", async () => {
  const base = {
    model, max_tokens: 40, messages: user("Weather?"), thinking: { type: "adaptive" }, temperature: 1, top_p: 1,
    tools: [{ name: "get_weather", input_schema: weather }], tool_choice: { type: "any" },
  };
  await seeded(async () => {
    const r = await client.messages.create(base);
    return r.content.find((b) => b.type === "thinking")?.thinking;
  });
  await seeded(async () => {
    const final = await client.messages.stream(base).finalMessage();
    return final.content.find((b) => b.type === "thinking")?.thinking;
  });
});

await check("anthropic: tool_choice auto, any and none; is_error", async () => {
  const tools = [{ name: "get_weather", input_schema: weather, strict: true }];
  const base = { model, max_tokens: 200, messages: user("Weather?"), tools };
  const any = await client.messages.create({ ...base, tool_choice: { type: "any", disable_parallel_tool_use: true } });
  const use = any.content.find((b) => b.type === "tool_use");
  asWeather(use.input);
  const none = await client.messages.create({ ...base, max_tokens: 10, tool_choice: { type: "none" } });
  assert.deepEqual(none.content.map((b) => b.type), ["text"]);
  asWord(none.content[0].text);
  assert.equal(none.stop_reason, "max_tokens");
  const auto = await client.messages.create({
    ...base, max_tokens: 10, tool_choice: { type: "auto" },
    messages: [...user("Weather?"), { role: "assistant", content: any.content }, { role: "user", content: [{ type: "tool_result", tool_use_id: use.id, is_error: true, content: [{ type: "text", text: "no such city" }] }] }],
  });
  assert.ok(auto.usage.output_tokens > 0);
  const loose = await rejects(() => client.messages.create({ ...base, messages: [...user("Weather?"), { role: "user", content: [{ type: "tool_result", tool_use_id: "toolu_none", content: "sunny" }] }] }));
  assert.ok(loose instanceof Anthropic.BadRequestError);
});

await check("anthropic: system blocks, stop sequences, thoughts sent back, what is refused", async () => {
  const system = [{ type: "text", text: "Be brief.", cache_control: { type: "ephemeral" } }, { type: "text", text: "Be kind." }];
  const r = await client.messages.stream({ model, max_tokens: 300, temperature: 0, messages: fox, system, stop_sequences: [".", "!"] }).finalMessage();
  assert.equal(r.stop_reason, "stop_sequence");
  assert.ok([".", "!"].includes(r.stop_sequence));
  const thought = { role: "assistant", content: [{ type: "thinking", thinking: "hm", signature: "" }, { type: "text", text: "A fox." }] };
  const enabled = await client.messages.create({ model, max_tokens: 2000, messages: [...fox, thought, ...user("More?")], thinking: { type: "enabled", budget_tokens: 1024 }, stop_sequences: ["."] });
  assert.ok(enabled.content.length > 0);
  for (const [field, wrong] of Object.entries({
    "thinking.budget_tokens": { thinking: { type: "enabled", budget_tokens: 5000 } },
    "tools[0].type": { tools: [{ type: "web_search_20250305", name: "web_search" }] },
    "messages[0].content[0].type": { messages: [{ role: "user", content: [{ type: "image", source: { type: "base64", media_type: "image/png", data: "AA==" } }] }] },
    "tool_choice": { tool_choice: { type: "any" } },
  })) {
    const e = await rejects(() => client.messages.create({ model, max_tokens: 50, messages: fox, ...wrong }));
    assert.ok(e instanceof Anthropic.BadRequestError, field);
    assert.ok(e.message.includes(field), e.message);
  }
});

await check("anthropic: cancellation", () => leaves(async () => {
  const output_config = { format: { type: "json_schema", schema: numbers } };
  const stream = client.messages.stream({ model, max_tokens: 4000, messages: fox, output_config });
  stream.on("text", () => stream.abort());
  await rejects(() => stream.finalMessage());
}));

done();
