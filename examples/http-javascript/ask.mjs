// Streams an answer from `plume serve` with nothing but Node (18 or later).
//
//	plume serve &
//	node examples/http-javascript/ask.mjs "Tell me a story about a fox."
//
// Any OpenAI, Anthropic or Ollama client works as well, see docs/api-*.md.

const url = process.env.PLUME_URL ?? "http://127.0.0.1:8080";

async function* ask(question) {
  const headers = { "Content-Type": "application/json" };
  if (process.env.PLUME_API_KEY) headers.Authorization = "Bearer " + process.env.PLUME_API_KEY;
  const body = JSON.stringify({ messages: [{ role: "user", content: question }], stream: true, max_tokens: 200 });
  const response = await fetch(url + "/v1/chat/completions", { method: "POST", headers, body });
  if (!response.ok) throw new Error(`${response.status}: ${await response.text()}`);
  let held = "";
  for await (const piece of response.body.pipeThrough(new TextDecoderStream())) {
    held += piece;
    for (let at; (at = held.indexOf("\n")) >= 0; held = held.slice(at + 1)) {
      const line = held.slice(0, at);
      if (!line.startsWith("data: ")) continue;
      if (line === "data: [DONE]") return;
      const chunk = JSON.parse(line.slice(6));
      if (chunk.error) throw new Error(chunk.error.message);
      yield chunk.choices[0]?.delta.content ?? "";
    }
  }
  throw new Error("the answer ended early");
}

try {
  for await (const piece of ask(process.argv.slice(2).join(" ") || "Tell me a story about a fox.")) process.stdout.write(piece);
  console.log();
} catch (error) {
  console.error(`ask ${url}: ${error.message}${error.cause ? ": " + error.cause.message : ""}`);
  process.exitCode = 1;
}
