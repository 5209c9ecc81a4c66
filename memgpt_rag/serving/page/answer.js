// An answer: its cited spans marked, and its words, each of which shows what it looked at.
import { cutter, el, say, shown } from "./dom.js";
import { joins, Passage } from "./passage.js";
import { percent, t } from "./strings.js";

let made = 0;

/** Words of an answer with their tokens: [{start, end, tokens}]. A word of Chinese is a token. */
function wordsOf(cut, tokens) {
  const words = [];
  tokens.forEach(([start, end], token) => {
    const text = cut(start, end);
    const from = start + Array.from(text).length - Array.from(text.trimStart()).length;
    if (from >= end) return;
    const last = words.at(-1);
    if (last && last.end === from && joins(cut(from - 1, from), cut(from, from + 1))) {
      last.end = end;
      last.tokens.push(token);
    } else words.push({ start: from, end, tokens: [token] });
  });
  return words;
}

export class Answer {
  constructor(text, memory) {
    const quotes = [memory.quote, memory.second_quote].filter(Boolean);
    this.trace = memory.trace ?? null;
    this.cut = cutter(text);
    this.passages = memory.entries.map((entry, place) => {
      const explained = entry.spans.map(([start, end]) => this.cut(start, end).trim()).filter(Boolean);
      const own = quotes.find((quote) => quote.passage.id === entry.id) ?? null;
      return new Passage({ ...entry, explains: explained }, place + 1, this.trace?.entries[place], own);
    });
    this.words = this.trace ? wordsOf(this.cut, this.trace.tokens) : [];
    this.now = -1;
    this.element = el("p", { class: "answer", dir: "auto" });
    this.element.append(...this.#marked(memory.entries));
    if (this.words.length) this.#listen();
  }

  /** The text as elements: runs of cited words, each run with the number of its passage. */
  #marked(entries) {
    const runs = entries.flatMap(({ spans }, place) => spans.map(([start, end]) => ({ start, end, place })));
    runs.sort((a, b) => a.start - b.start);
    const marked = [];
    let at = 0;
    for (const { start, end, place } of runs) {
      marked.push(...this.#plain(at, start));
      const parts = this.#plain(start, end);
      marked.push(el("mark", { class: `run e${(place % 6) + 1}` }, parts), this.#mark(place));
      at = end;
    }
    return [...marked, ...this.#plain(at, this.cut.points)];
  }

  #plain(start, end) {
    const parts = [];
    for (const word of this.words.filter((one) => one.start < end && start < one.end)) {
      if (start < word.start) parts.push(shown(this.cut(start, word.start)));
      const from = Math.max(start, word.start);
      const to = Math.min(end, word.end);
      const element = el("span", { class: "word" }, shown(this.cut(from, to)));
      (word.elements ??= []).push(element);
      parts.push(element);
      start = to;
    }
    return start < end ? [...parts, shown(this.cut(start, end))] : parts;
  }

  #mark(place) {
    const number = place + 1;
    const go = () => {
      this.passages[place].element.focus();
      this.passages[place].element.scrollIntoView({ block: "nearest" });
    };
    return el("button", { class: `cite e${(place % 6) + 1}`, type: "button", "aria-label": t("rests", number), onclick: go }, String(number));
  }

  #listen() {
    const hint = `hint-${(made += 1)}`;
    const answer = this.element;
    for (const [name, value] of Object.entries({ tabindex: "0", role: "group", "aria-label": t("answer"), "aria-describedby": hint })) {
      answer.setAttribute(name, value);
    }
    this.hint = el("span", { id: hint, class: "unseen" }, t("answerHint"));
    const wordAt = (target) => this.words.findIndex((word) => word.elements?.includes(target));
    answer.addEventListener("pointerover", (event) => this.look(wordAt(event.target)));
    answer.addEventListener("click", (event) => this.look(wordAt(event.target)));
    answer.addEventListener("pointerleave", (event) => event.pointerType === "mouse" && this.look(-1));
    answer.addEventListener("focus", () => answer.matches(":focus-visible") && this.now < 0 && this.look(0, true));
    answer.addEventListener("blur", () => this.look(-1));
    answer.addEventListener("keydown", (event) => {
      const last = this.words.length - 1;
      const to = { ArrowRight: Math.min(this.now + 1, last), ArrowLeft: Math.max(this.now - 1, 0), Home: 0, End: last, Escape: -1 }[event.key];
      if (to === undefined || event.target !== answer) return;
      event.preventDefault();
      this.look(to, true);
    });
  }

  /** Show what a word looked at; -1 for none. */
  look(place, aloud = false) {
    if (place === this.now) return;
    for (const element of this.words[this.now]?.elements ?? []) element.classList.remove("now");
    this.now = place;
    const word = this.words[place];
    if (!word) {
      for (const passage of this.passages) {
        passage.clear();
        passage.showShare(passage.entry.share);
      }
      return;
    }
    for (const element of word.elements ?? []) element.classList.add("now");
    const seen = this.trace.entries.map((tokens) => word.tokens.flatMap((token) => tokens[token]));
    const most = Math.max(...seen.flat().map(([, , share]) => share), 0);
    const mean = (entry) => word.tokens.reduce((sum, token) => sum + this.trace.shares[token][entry], 0) / word.tokens.length;
    this.passages.forEach((passage, entry) => {
      passage.light(seen[entry], most);
      passage.showShare(mean(entry));
    });
    if (aloud) say(this.#spoken(word, seen, mean));
  }

  #spoken(word, seen, mean) {
    const text = this.cut(word.start, word.end);
    const best = seen.map((places, entry) => [mean(entry), entry]).sort((a, b) => b[0] - a[0])[0];
    const passage = best && this.passages[best[1]];
    const places = (best ? seen[best[1]] : []).toSorted((a, b) => b[2] - a[2]).map(([start, end]) => passage.word(start, end));
    const words = [...new Set(places.filter((one) => /[\p{L}\p{N}]/u.test(one)))].slice(0, 3);
    return words.length ? t("looked", text, t("lookedAt", words.join(", "), passage.number, percent(best[0]))) : t("lookedNowhere", text);
  }
}

/** What the memory says about an answer: [kind, sentence]. */
export function verdict(memory) {
  if (memory.nothing_found) return ["doubt", t("nothingFound")];
  if (memory.mode === "closed_book") return ["plain", t("closedBook")];
  if (memory.abstained) return ["doubt", t("abstained")];
  if (memory.supported === null) return ["plain", t("unjudged")];
  return memory.supported ? ["good", t("supported")] : ["doubt", t("unsupported")];
}

/** The verdict as a paragraph, with the confidence. */
export function verdictView(memory) {
  const [kind, sentence] = verdict(memory);
  const sure = memory.confidence === null ? null : el("span", { class: "sure" }, t("confidence", percent(Math.floor(memory.confidence * 100) / 100)));
  return el("p", { class: `verdict ${kind}` }, el("span", {}, sentence), sure);
}

/** The quotes of an answer: none, one, or two where they lead. */
export const quoteViews = (memory) => [memory.quote, memory.second_quote].filter(Boolean).map((quote) => quoteView(quote, memory));

function quoteView({ passage, start, end }, memory) {
  const cited = memory.entries.find((entry) => entry.id === passage.id);
  return el("figure", { class: "quote" }, el("blockquote", { dir: "auto" }, shown(cutter(passage.text)(start, end))),
    el("figcaption", {}, t("quote"), " · ", shown(cited?.place ?? passage.source)));
}
