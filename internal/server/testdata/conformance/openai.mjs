import OpenAI from "openai";
import { zodFunction, zodResponseFormat, zodTextFormat } from "openai/helpers/zod";
import { z } from "zod";
import { assert, asWeather, asWord, breaksOff, check, done, fox, hasty, key, leaves, numbers, rejects, seeded, url, user, weather } from "./check.mjs";

const client = new OpenAI({ baseURL: url + "/v1", apiKey: key, maxRetries: 0 });
const model = "demo";
const Weather = z.object({ city: z.enum(["Paris", "Rome"]), days: z.number().int().min(1).max(3) });

await check("openai: models", async () => {
  const ids = [];
  for await (const m of client.models.list()) ids.push(m.id);
  assert.deepEqual(ids, ["demo"]);
  assert.equal((await client.models.retrieve("demo")).id, "demo");
});

await check("openai: chat", async () => {
  const r = await client.chat.completions.create({ model, messages: fox, max_tokens: 12, seed: 1 });
  assert.equal(r.choices[0].finish_reason, "length");
  assert.ok(r.choices[0].message.content.length > 0);
  assert.equal(r.usage.completion_tokens, 12);
  const again = await client.chat.completions.create({ model, messages: fox, max_tokens: 12, seed: 1 });
  assert.equal(again.choices[0].message.content, r.choices[0].message.content);
});

await check("openai: chat, streamed, is the same text", async () => {
  const whole = await client.chat.completions.create({ model, messages: fox, max_tokens: 20, temperature: 0 });
  let text = "", usage, finish;
  for await (const c of await client.chat.completions.create({ model, messages: fox, max_tokens: 20, temperature: 0, stream: true, stream_options: { include_usage: true } })) {
    text += c.choices[0]?.delta.content ?? "";
    finish = c.choices[0]?.finish_reason ?? finish;
    usage = c.usage ?? usage;
  }
  assert.equal(text, whole.choices[0].message.content);
  assert.equal(finish, "length");
  assert.equal(usage.completion_tokens, 20);
});

await check("openai: n, stop, logprobs", async () => {
  const r = await client.chat.completions.create({ model, messages: fox, max_tokens: 8, n: 3, logprobs: true, top_logprobs: 2 });
  assert.equal(r.choices.length, 3);
  const lp = r.choices[2].logprobs.content;
  assert.equal(lp.length, 8);
  assert.ok(lp.every((t) => t.logprob <= 0 && t.top_logprobs.length === 2));
  assert.equal(lp.map((t) => t.token).join(""), r.choices[2].message.content);
  const stopped = await client.chat.completions.create({ model, messages: fox, temperature: 0, stop: "." });
  assert.equal(stopped.choices[0].finish_reason, "stop");
  assert.ok(!stopped.choices[0].message.content.includes("."));
});

await check("openai: a forced tool call", async () => {
  const tools = [{ type: "function", function: { name: "get_weather", parameters: weather, strict: true } }];
  const choice = { type: "function", function: { name: "get_weather" } };
  const r = await client.chat.completions.create({ model, messages: user("Weather?"), tools, tool_choice: choice, parallel_tool_calls: false, max_tokens: 200 });
  const call = r.choices[0].message.tool_calls[0];
  assert.equal(r.choices[0].finish_reason, "tool_calls");
  assert.equal(call.function.name, "get_weather");
  asWeather(JSON.parse(call.function.arguments));
  const stream = client.chat.completions.stream({ model, messages: user("Weather?"), tools, tool_choice: choice, parallel_tool_calls: false, max_tokens: 200 });
  const final = await stream.finalChatCompletion();
  asWeather(JSON.parse(final.choices[0].message.tool_calls[0].function.arguments));
  const next = await client.chat.completions.create({
    model, tools, tool_choice: "none", max_tokens: 5,
    messages: [...user("Weather?"), r.choices[0].message, { role: "tool", tool_call_id: call.id, content: "sunny" }],
  });
  asWord(next.choices[0].message.content);
  assert.equal(next.choices[0].message.tool_calls, undefined);
});

await check("openai: structured output", async () => {
  const r = await client.chat.completions.parse({
    model, messages: user("Weather?"), max_tokens: 200,
    response_format: { type: "json_schema", json_schema: { name: "weather", strict: true, schema: weather } },
  });
  asWeather(JSON.parse(r.choices[0].message.content));
  const any = await client.chat.completions.create({ model, messages: user("Weather?"), max_tokens: 400, temperature: 0, response_format: { type: "json_object" } });
  if (any.choices[0].finish_reason === "stop") assert.equal(typeof JSON.parse(any.choices[0].message.content), "object");
  else assert.match(any.choices[0].message.content, /^\{./);
});

await check("openai: completions", async () => {
  const r = await client.completions.create({ model, prompt: ["Once upon", "One day"], max_tokens: 5, echo: true });
  assert.ok(r.choices[0].text.startsWith("Once upon") && r.choices[1].text.startsWith("One day"));
  let text = "";
  for await (const c of await client.completions.create({ model, prompt: "Once upon", max_tokens: 5, stream: true })) text += c.choices[0].text;
  assert.ok(text.length > 0);
});

await check("openai: responses", async () => {
  const r = await client.responses.create({ model, input: "Tell me a story.", instructions: "Be brief.", max_output_tokens: 10, temperature: 0 });
  assert.equal(r.status, "incomplete");
  assert.ok(r.output_text.length > 0);
  const types = [];
  let text = "", n = 0;
  for await (const e of await client.responses.create({ model, input: "Tell me a story.", instructions: "Be brief.", max_output_tokens: 10, temperature: 0, stream: true })) {
    assert.equal(e.sequence_number, n++);
    types.push(e.type);
    if (e.type === "response.output_text.delta") text += e.delta;
  }
  assert.equal(text, r.output_text);
  assert.equal(types[0], "response.created");
  assert.equal(types.at(-1), "response.incomplete");
  const final = await client.responses.stream({ model, input: "Hi", max_output_tokens: 5 }).finalResponse();
  assert.ok(final.output_text.length > 0);
});

await check("openai: responses with a tool", async () => {
  const tools = [{ type: "function", name: "get_weather", parameters: weather, strict: true }];
  const r = await client.responses.create({ model, input: "Weather?", tools, tool_choice: { type: "function", name: "get_weather" }, parallel_tool_calls: false, max_output_tokens: 200 });
  const call = r.output.find((o) => o.type === "function_call");
  asWeather(JSON.parse(call.arguments));
  const next = await client.responses.create({ model, tools, tool_choice: "none", max_output_tokens: 5, input: [...user("Weather?"), ...r.output, { type: "function_call_output", call_id: call.call_id, output: "sunny" }] });
  assert.ok(next.output_text.length > 0);
});

await check("openai: errors", async () => {
  const bad = await rejects(() => client.chat.completions.create({ model, messages: fox, temperature: 5 }));
  assert.ok(bad instanceof OpenAI.BadRequestError);
  assert.equal(bad.param, "temperature");
  assert.ok((await rejects(() => client.chat.completions.create({ model: "gpt-5", messages: fox }))) instanceof OpenAI.NotFoundError);
  const image = [{ role: "user", content: [{ type: "image_url", image_url: { url: "data:image/png;base64,AA==" } }] }];
  assert.match((await rejects(() => client.chat.completions.create({ model, messages: image }))).message, /text only/);
  const long = user("fox ".repeat(20000));
  assert.equal((await rejects(() => client.chat.completions.create({ model, messages: long, stream: true }))).code, "context_length_exceeded");
  const stranger = new OpenAI({ baseURL: url + "/v1", apiKey: "wrong", maxRetries: 0 });
  assert.ok((await rejects(() => stranger.models.list())) instanceof OpenAI.AuthenticationError);
});

await check("openai: streamed errors", async () => {
  for (const f of [
    () => client.chat.completions.stream({ model, messages: fox, temperature: 5 }).finalChatCompletion(),
    () => client.completions.create({ model, prompt: "Hi", temperature: 5, stream: true }),
    () => client.responses.stream({ model, input: "Hi", temperature: 5 }).finalResponse(),
  ]) {
    const bad = await rejects(f);
    assert.ok(bad instanceof OpenAI.BadRequestError, String(bad));
    assert.equal(bad.param, "temperature");
  }
  const short = new OpenAI({ baseURL: hasty + "/v1", apiKey: key, maxRetries: 0 });
  const response_format = { type: "json_schema", json_schema: { name: "numbers", schema: numbers } };
  const late = (e) => {
    assert.ok(e instanceof OpenAI.APIError, String(e));
    assert.equal(e.code, "timeout");
  };
  await breaksOff(() => short.chat.completions.create({ model, messages: fox, stream: true, response_format }), late);
  const types = [];
  let failed;
  for await (const e of await short.responses.create({ model, input: "Hi", stream: true, text: { format: { type: "json_schema", name: "numbers", schema: numbers } } })) {
    types.push(e.type);
    if (e.type === "response.failed") failed = e.response.error;
  }
  assert.ok(types.filter((t) => t === "response.output_text.delta").length > 5);
  assert.equal(types.at(-1), "response.failed");
  assert.match(failed.message, /longer than this server allows/);
});

await check("openai: thoughts, whole and streamed", async () => {
  const tools = [{ type: "function", function: { name: "get_weather", parameters: weather } }];
  const base = { model, messages: user("Weather?"), tools, tool_choice: "required", reasoning_effort: "low", max_tokens: 30 };
  const whole = await seeded(async (seed) => {
    const r = await client.chat.completions.create({ ...base, seed });
    return r.choices[0].message.reasoning_content && { seed, text: r.choices[0].message.reasoning_content, usage: r.usage };
  });
  assert.ok(whole.usage.completion_tokens_details.reasoning_tokens > 0);
  let text = "";
  for await (const c of await client.chat.completions.create({ ...base, seed: whole.seed, stream: true })) text += c.choices[0]?.delta.reasoning_content ?? "";
  assert.equal(text, whole.text);
  const off = await client.chat.completions.create({ ...base, reasoning_effort: "none", seed: whole.seed });
  assert.equal(off.choices[0].message.reasoning_content, undefined);
});

await check("openai: responses: a form, a streamed call, a thought", async () => {
  const r = await client.responses.parse({ model, input: "Weather?", max_output_tokens: 200, text: { format: zodTextFormat(Weather, "weather") } });
  asWeather(r.output_parsed);
  const next = await client.responses.create({ model, max_output_tokens: 5, input: [...user("Weather?"), ...r.output, ...user("And then?")] }); // with what parse has added
  assert.ok(next.output_text.length > 0);
  const tools = [{ type: "function", name: "get_weather", parameters: weather, strict: true }];
  const base = { model, input: "Weather?", tools, tool_choice: "required", parallel_tool_calls: false, max_output_tokens: 200 };
  let args = "", done;
  for await (const e of await client.responses.create({ ...base, stream: true })) {
    if (e.type === "response.function_call_arguments.delta") args += e.delta;
    if (e.type === "response.function_call_arguments.done") done = e.arguments;
  }
  assert.equal(args, done);
  asWeather(JSON.parse(done));
  await seeded(async (seed) => {
    const r = await client.responses.create({ ...base, max_output_tokens: 30, reasoning: { effort: "low" }, seed });
    return r.output.find((o) => o.type === "reasoning" && o.content[0].text);
  });
});

await check("openai: responses: what is stored nowhere, tools by choice, streamed errors", async () => {
  const first = await client.responses.create({ model, input: "Hi", max_output_tokens: 3, store: true, metadata: { a: "b" } });
  assert.equal(first.store, false);
  assert.deepEqual(first.metadata, { a: "b" });
  const stored = await rejects(() => client.responses.create({ model, input: "Hi", previous_response_id: first.id, stream: true }));
  assert.ok(stored instanceof OpenAI.BadRequestError);
  assert.equal(stored.param, "previous_response_id");
  const tools = [{ type: "function", name: "get_weather", parameters: weather, strict: true }];
  const final = await client.responses.stream({ model, input: "Weather?", tools, tool_choice: "required", parallel_tool_calls: false, max_output_tokens: 200 }).finalResponse();
  asWeather(JSON.parse(final.output.find((o) => o.type === "function_call").arguments));
  const own = await rejects(() => client.responses.create({ model, input: "Hi", tools: [{ type: "web_search" }] }));
  assert.match(own.message, /only functions/);
  const picture = [{ role: "user", content: [{ type: "input_image", image_url: "data:image/png;base64,AA==", detail: "auto" }] }];
  assert.match((await rejects(() => client.responses.create({ model, input: picture }))).message, /text only/);
  const lp = await client.responses.create({ model, input: "Hi", max_output_tokens: 3, include: ["message.output_text.logprobs"], top_logprobs: 2 });
  assert.equal(lp.output[0].content[0].logprobs[0].top_logprobs.length, 2);
});

await check("openai: parse and runTools, as the client drives them", async () => {
  const parsed = await client.chat.completions.parse({ model, messages: user("Weather?"), max_tokens: 200, response_format: zodResponseFormat(Weather, "weather") });
  asWeather(parsed.choices[0].message.parsed);
  const called = await client.chat.completions.parse({
    model, messages: user("Weather?"), max_tokens: 200, parallel_tool_calls: false, tool_choice: "required", tools: [zodFunction({ name: "get_weather", parameters: Weather })],
  });
  asWeather(called.choices[0].message.tool_calls[0].function.parsed_arguments);
  const streamed = await client.chat.completions.stream({ model, messages: user("Weather?"), max_tokens: 200, response_format: zodResponseFormat(Weather, "weather") }).finalChatCompletion();
  asWeather(streamed.choices[0].message.parsed);
  const seen = [];
  const runner = client.chat.completions.runTools({
    model, messages: user("Weather?"), max_tokens: 200, parallel_tool_calls: false, tool_choice: { type: "function", function: { name: "get_weather" } },
    tools: [{ type: "function", function: { name: "get_weather", parameters: weather, parse: JSON.parse, function: (args) => { seen.push(args); return "sunny"; } } }],
  }, { maxChatCompletions: 2 });
  await runner.done();
  assert.ok(seen.length > 0);
  seen.forEach(asWeather);
});

await check("openai: cancellation", () => leaves(async () => {
  const response_format = { type: "json_schema", json_schema: { name: "numbers", schema: numbers } };
  const stream = await client.chat.completions.create({ model, messages: fox, stream: true, response_format });
  for await (const _ of stream) {
    stream.controller.abort();
    break;
  }
}));

done();
