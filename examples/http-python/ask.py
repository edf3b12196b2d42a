"""Streams an answer from `plume serve` with Python's standard library alone.

    plume serve &
    python3 examples/http-python/ask.py "Tell me a story about a fox."

Any OpenAI, Anthropic or Ollama client works as well, see docs/api-*.md.
"""

import json
import os
import sys
import urllib.error
import urllib.request

URL = os.environ.get("PLUME_URL", "http://127.0.0.1:8080")


def ask(question):
    """Yields the pieces of the answer."""
    headers = {"Content-Type": "application/json"}
    if key := os.environ.get("PLUME_API_KEY"):
        headers["Authorization"] = "Bearer " + key
    body = {"messages": [{"role": "user", "content": question}], "stream": True, "max_tokens": 200}
    request = urllib.request.Request(URL + "/v1/chat/completions", json.dumps(body).encode(), headers)
    with urllib.request.urlopen(request) as response:
        for line in response:
            data = line.decode().strip().removeprefix("data: ")
            if not data or data.startswith(":"):
                continue
            if data == "[DONE]":
                return
            chunk = json.loads(data)
            if "error" in chunk:
                raise RuntimeError(chunk["error"]["message"])
            yield chunk["choices"][0]["delta"].get("content", "")
    raise RuntimeError("the answer ended early")


if __name__ == "__main__":
    try:
        for piece in ask(" ".join(sys.argv[1:]) or "Tell me a story about a fox."):
            print(piece, end="", flush=True)
        print()
    except urllib.error.HTTPError as e:
        sys.exit(f"{e}: {e.read().decode()}")
    except (urllib.error.URLError, RuntimeError) as e:
        sys.exit(f"ask {URL}: {e}")
