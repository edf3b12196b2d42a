import { createOpenAI } from "@ai-sdk/openai";
import { createOpenAICompatible } from "@ai-sdk/openai-compatible";
import { createAnthropic } from "@ai-sdk/anthropic";
import { generateText, jsonSchema, Output, streamText, tool } from "ai";
import { assert, asWeather, check, done, key, rejects, settled, url, weather } from "./check.mjs";

const baseURL = url + "/v1";
const openai = createOpenAI({ baseURL, apiKey: key });
const models = {
  "openai chat": openai.chat("demo"),
  "openai responses": openai.responses("demo"),
  "openai-compatible": createOpenAICompatible({ name: "plume", baseURL, apiKey: key, supportsStructuredOutputs: true })("demo"),
  anthropic: createAnthropic({ baseURL, apiKey: key })("demo"),
};
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

  await check(`ai, ${name}: structured output`, async () => {
    const r = await generateText({ ...base, prompt: "Weather?", output: Output.object({ schema: jsonSchema(weather) }) });
    asWeather(r.output);
  });
}

await check("ai: errors and cancellation", async () => {
  const e = await rejects(() => generateText({ model: openai.chat("nope"), prompt, maxRetries: 0 }));
  assert.equal(e.statusCode, 404);
  const gone = new AbortController();
  const stream = streamText({ model: models["openai chat"], prompt, abortSignal: gone.signal, onError: () => {} });
  await rejects(async () => {
    for await (const _ of stream.textStream) gone.abort();
    gone.signal.throwIfAborted();
  });
  await settled();
});

done();
