// One question to the server: its text as it comes, then what the memory gave to it, with times.
import { stream } from "./api.js";

/** Ask; `onText` gets the text so far. Returns {text, memory, usage, first, whole}, times in seconds. */
export async function ask({ model, messages, memory }, signal, onText) {
  const began = performance.now();
  const since = () => (performance.now() - began) / 1000;
  const answer = { text: "", memory: null, usage: null, first: null, whole: null };
  const body = { model, messages, memory, stream: true, stream_options: { include_usage: true } };
  for await (const event of stream("v1/chat/completions", body, signal)) {
    const text = event.choices[0]?.delta.content;
    if (text) {
      answer.first ??= since();
      answer.text += text;
      onText(answer.text);
    }
    answer.memory = event.memory ?? answer.memory;
    answer.usage = event.usage ?? answer.usage;
  }
  answer.whole = since();
  answer.first ??= answer.whole;
  return answer;
}
