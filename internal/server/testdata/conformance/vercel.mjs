import { createOpenAI } from "@ai-sdk/openai";
import { createOpenAICompatible } from "@ai-sdk/openai-compatible";
import { createAnthropic } from "@ai-sdk/anthropic";
import { generateObject, generateText, jsonSchema, Output, stepCountIs, streamObject, streamText, tool } from "ai";
import { assert, asWeather, check, done, key, leaves, numbers, rejects, url, weather } from "./check.mjs";

const baseURL = url + "/v1";
const openai = createOpenAI({ baseURL, apiKey: key });
const models = {
  "openai chat": openai.chat("demo"),
  "openai responses": openai.responses("demo"),
  "openai-compatible": createOpenAICompatible({ name: "plume", baseURL, apiKey: key, supportsStructuredOutputs: true })("demo"),
  anthropic: createAnthropic({ baseURL, apiKey: key })("demo"),
};
// For this dialect the package makes a tool of the form, whose call comes in one piece.
const endless = createAnthropic({
  baseURL, apiKey: key,
  fetch: (to, o) => fetch(to, { ...o, body: JSON.stringify({ ...JSON.parse(o.body), output_config: { format: { type: "json_schema", schema: numbers } } }) }),
})("demo");
const prompt = "Tell me a story about a fox.";

for (const [name, model] of Object.entries(models)) {
  const base = { model, prompt, maxRetries: 0, maxOutputTokens: 200 };

  await check(`ai, ${name}: text, whole and streamed`, async () => {
    const whole = await generateText({ ...base, temperature: 0, maxOutputTokens: 20 });
    assert.equal(whole.finishReason, "length");
    assert.equal(whole.usage.outputTokens, 20);
    const stream = streamText({ ...base, temperature: 0, maxOutputTokens: 20 });
    let text = "";
    for await (const piece of stream.textStream) text += piece;
    assert.equal(text, whole.text);
  });

  await check(`ai, ${name}: a forced tool call`, async () => {
    const tools = { get_weather: tool({ description: "Weather", inputSchema: jsonSchema(weather) }) };
    const r = await generateText({ ...base, prompt: "Weather?", tools, toolChoice: { type: "tool", toolName: "get_weather" } });
    asWeather(r.toolCalls[0].input);
  });

  await check(`ai, ${name}: a tool that is run, its answer sent back`, async () => {
    const run = [];
    const tools = { get_weather: tool({ description: "Weather", inputSchema: jsonSchema(weather), execute: (input) => { run.push(input); return "sunny"; } }) };
    const providerOptions = { openai: { store: false, parallelToolCalls: false }, anthropic: { disableParallelToolUse: true } };
    const r = await generateText({ ...base, prompt: "Weather?", tools, toolChoice: { type: "tool", toolName: "get_weather" }, providerOptions, stopWhen: stepCountIs(2) });
    assert.equal(r.steps.length, 2);
    assert.ok(run.length > 0);
    run.forEach(asWeather);
    assert.ok(r.steps[0].toolResults.every((t) => t.output === "sunny"));
  });

  await check(`ai, ${name}: structured output`, async () => {
    const r = await generateText({ ...base, prompt: "Weather?", output: Output.object({ schema: jsonSchema(weather) }) });
    asWeather(r.output);
  });

  await check(`ai, ${name}: streamObject and a streamed conversation with a tool`, async () => {
    const s = streamText({ ...base, prompt: "Weather?", output: Output.object({ schema: jsonSchema(weather) }) });
    let last;
    for await (const part of s.partialOutputStream) last = part;
    asWeather(last);
    const stream = streamObject({ ...base, prompt: "Weather?", schema: jsonSchema(weather) });
    let parts = 0;
    for await (const _ of stream.partialObjectStream) parts++;
    assert.ok(parts > 0);
    asWeather(await stream.object);
    assert.deepEqual(await stream.warnings ?? [], []);
    const object = await generateObject({ ...base, prompt: "Weather?", schema: jsonSchema(weather) });
    asWeather(object.object);
    const tools = { get_weather: tool({ inputSchema: jsonSchema(weather), execute: () => "sunny" }) };
    const providerOptions = { openai: { store: false, parallelToolCalls: false }, anthropic: { disableParallelToolUse: true } };
    const run = streamText({ ...base, prompt: "Weather?", tools, toolChoice: "required", providerOptions, stopWhen: stepCountIs(2) });
    const calls = [];
    for await (const part of run.fullStream) {
      if (part.type === "error") throw part.error;
      if (part.type === "tool-call") calls.push(part.input);
    }
    assert.ok(calls.length > 0);
    calls.forEach(asWeather);
  });

  await check(`ai, ${name}: errors`, async () => {
    const e = await rejects(() => generateText({ ...base, topP: 9 }));
    assert.equal(e.statusCode, 400);
    assert.match(e.message, /top_p/);
    const seen = [];
    const stream = streamText({ ...base, topP: 9, onError: () => {} });
    for await (const part of stream.fullStream) if (part.type === "error") seen.push(part.error);
    assert.equal(seen.length, 1);
    assert.equal(seen[0].statusCode, 400);
  });

  await check(`ai, ${name}: cancellation`, () => leaves(async () => {
    const gone = new AbortController();
    const form = name === "anthropic" ? { model: endless } : { output: Output.object({ schema: jsonSchema(numbers) }) };
    const stream = streamText({ ...base, ...form, maxOutputTokens: 4000, abortSignal: gone.signal, onError: () => {} });
    await rejects(async () => {
      for await (const _ of stream.textStream) gone.abort();
      gone.signal.throwIfAborted();
    });
  }));
}

await check("ai: a model that is not there", async () => {
  const e = await rejects(() => generateText({ model: openai.chat("nope"), prompt, maxRetries: 0 }));
  assert.equal(e.statusCode, 404);
});

done();
