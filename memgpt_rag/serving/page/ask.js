// The view "Ask": a conversation, its answers as they stream, and what they rest on.
import { Answer, quoteViews, verdict, verdictView } from "./answer.js";
import { ask } from "./chat.js";
import { byId, el, fault, field, say, select, shown, sure } from "./dom.js";
import { conversations, deleteConversation, keepConversation, newConversation } from "./history.js";
import { count, seconds, t } from "./strings.js";

const SENT_TURNS = 8; // of the conversation, before the question
const SPOKEN_MILLISECONDS = 1500; // between two announcements of a stream
let conversation = null; // the open one, whichever view is shown
const options = { k: "4", search: "", filter: "", abstain: false };

export function show(main, app) {
  if (!conversation || (!conversation.turns.length && conversation.memory !== app.current)) conversation = newConversation(app.current);
  const turns = el("div", { class: "turns" }, conversation.turns.map((turn, place) => turnView(turn, place + 1)));
  const question = el("textarea", { id: "question", rows: "1", placeholder: t("questionHint"), "aria-label": t("question"), dir: "auto" });
  const button = el("button", { type: "submit", class: "main" }, t("ask"));
  const form = el("form", { class: "composer" }, el("div", { class: "line" }, question, button), optionsView());
  const intro = el("div", { class: "intro" }, el("h1", {}, t("intro")), el("p", {}, t("introMore")));
  main.replaceChildren(el("div", { class: "ask" }, pastView(main, app),
    el("div", { class: "talk" }, conversation.turns.length ? el("h1", { class: "unseen" }, t("ask")) : intro, turns, form)));
  let running = null;
  form.onsubmit = async (event) => {
    event.preventDefault();
    if (running) return running.abort();
    const text = question.value.trim();
    if (!text) return question.focus();
    running = new AbortController();
    app.leaving.addEventListener("abort", () => running?.abort());
    button.textContent = t("stop");
    question.value = "";
    if (intro.isConnected) intro.replaceWith(el("h1", { class: "unseen" }, t("ask")));
    if (await answerTo(text, turns, app, running.signal)) document.querySelector(".past")?.replaceWith(pastView(main, app));
    else question.value ||= text;
    running = null;
    button.textContent = t("ask");
  };
  question.onkeydown = (event) => {
    if (event.key === "Enter" && !event.shiftKey && !event.isComposing) {
      event.preventDefault();
      form.requestSubmit();
    }
  };
  question.focus({ preventScroll: true });
}

/** Ask a question and show its answer; returns whether there is one. */
async function answerTo(question, turns, app, signal) {
  const talk = conversation;
  const place = talk.turns.length + 1;
  const text = el("p", { class: "answer", dir: "auto", "aria-busy": true });
  const article = el("article", { class: "turn", "aria-label": `${t("question")} ${place}` }, heading(question), text);
  turns.append(article);
  article.scrollIntoView({ block: "nearest" });
  say(t("answering"));
  let spoken = 0;
  let spokenAt = performance.now();
  const earlier = talk.turns.slice(-SENT_TURNS).flatMap((turn) => [{ role: "user", content: turn.question }, { role: "assistant", content: turn.text }]);
  const memory = { trace: true, k: Number(options.k), abstain: options.abstain };
  if (options.search) memory.search = options.search;
  if (options.filter.trim()) memory.filter = options.filter.trim();
  const wanted = { model: app.current, messages: [...earlier, { role: "user", content: question }], memory };
  try {
    const answer = await ask(wanted, signal, (so_far) => {
      text.textContent = shown(so_far);
      if (performance.now() - spokenAt > SPOKEN_MILLISECONDS) {
        say(so_far.slice(spoken));
        [spoken, spokenAt] = [so_far.length, performance.now()];
      }
    });
    const turn = { question, ...answer };
    talk.turns.push(turn);
    keepConversation(talk);
    article.replaceWith(turnView(turn, place));
    say(`${answer.text.slice(spoken) || t("emptyAnswer")} ${verdict(answer.memory)[1]}.`);
    return true;
  } catch (error) {
    text.removeAttribute("aria-busy");
    const stopped = error.name === "AbortError";
    article.append(stopped ? el("p", { class: "note" }, t("stopped")) : fault(error));
    return false;
  }
}

const heading = (question) => el("h2", { class: "question", dir: "auto" }, shown(question));

function turnView(turn, place) {
  const { memory, usage } = turn;
  const answer = new Answer(turn.text, memory);
  const cached = usage?.prompt_tokens_details?.cached_tokens ?? 0;
  const facts = [t("facts", memory.name, memory.version), t("firstAfter", seconds(turn.first)), t("wholeAfter", seconds(turn.whole)),
    usage && t("tokens", count(usage.prompt_tokens - cached), cached && count(cached))].filter(Boolean);
  const text = turn.text ? [answer.element, answer.hint] : el("p", { class: "note" }, t("emptyAnswer"));
  const quotes = quoteViews(memory);
  const said = memory.leads === "quote" && quotes.length ? [...quotes, el("p", { class: "note" }, t("wrote")), text] : [text, ...quotes];
  const passages = answer.passages.length ? el("section", { class: "passages", "aria-label": t("passages") },
    el("h3", {}, t("passages")), el("ol", {}, answer.passages.map((one) => one.element))) : null;
  return el("article", { class: "turn", "aria-label": `${t("question")} ${place}` }, heading(turn.question),
    el("div", { class: "body" }, el("div", { class: "said" }, said, verdictView(memory), el("p", { class: "note" }, facts.join(" · "))), passages));
}

function optionsView() {
  const kept = (name, input) => {
    input.value = options[name];
    input.onchange = () => (options[name] = input.type === "checkbox" ? input.checked : input.value);
    return input;
  };
  const k = kept("k", el("input", { type: "number", min: "1", max: "32", inputmode: "numeric" }));
  const kinds = [["", t("byServer")], ["dense", t("dense")], ["bm25", t("bm25")], ["hybrid", t("hybrid")]];
  const abstain = kept("abstain", el("input", { type: "checkbox" }));
  abstain.checked = options.abstain;
  return el("details", { class: "options" }, el("summary", {}, t("options")), el("div", { class: "fields" }, field(t("entries"), k),
    field(t("searchBy"), kept("search", select(kinds))), field(t("filter"), kept("filter", el("input", { placeholder: t("filterHint"), spellcheck: "false" }))),
    el("label", { class: "field check" }, abstain, el("span", {}, t("abstain")))));
}

function pastView(main, app) {
  const open = (chosen) => {
    conversation = chosen;
    if (app.memories.some(({ id }) => id === chosen.memory)) app.choose(chosen.memory);
    else app.show();
  };
  const items = conversations().map((one) => {
    const title = one.turns[0]?.question ?? t("newConversation");
    const remove = async () => {
      if (!(await sure(t("sureConversation"), t("delete")))) return;
      deleteConversation(one.id);
      if (conversation.id === one.id) conversation = null;
      app.show();
    };
    const here = one.id === conversation.id ? "true" : null;
    return el("li", {}, el("button", { type: "button", class: "open", "aria-current": here, onclick: () => open(one), dir: "auto" }, shown(title)),
      el("button", { type: "button", class: "remove", "aria-label": t("deleteConversation", shown(title)), onclick: remove }, "×"));
  });
  const fresh = () => {
    open(newConversation(app.current));
    byId("question").focus();
  };
  const list = el("details", { class: "list" }, el("summary", {}, `${t("conversations")} (${items.length})`), el("ol", {}, items), el("p", { class: "note" }, t("kept")));
  list.open = matchMedia("(min-width: 68rem)").matches && items.length > 0;
  return el("aside", { class: "past", "aria-label": t("conversations") }, el("button", { type: "button", onclick: fresh }, t("newConversation")), list);
}
