// Conversations in this browser: the newest first, without what each token looked at, which is large.
const PLACE = "memgpt_rag.conversations";
const MOST = 50;

export function conversations() {
  try {
    const found = JSON.parse(localStorage.getItem(PLACE) ?? "[]");
    return Array.isArray(found) ? found.filter((one) => one?.id && Array.isArray(one.turns)) : [];
  } catch {
    return [];
  }
}

function keep(all) {
  for (let most = MOST; most > 0; most = Math.floor(most / 2)) {
    try {
      localStorage.setItem(PLACE, JSON.stringify(all.slice(0, most)));
      return;
    } catch {
      // the browser's space is used up: the oldest go
    }
  }
}

export function newConversation(memory) {
  return { id: crypto.getRandomValues(new Uint32Array(2)).join("-"), memory, turns: [] };
}

export function keepConversation(conversation) {
  const turns = conversation.turns.map((turn) => ({ ...turn, memory: { ...turn.memory, trace: null } }));
  keep([{ ...conversation, turns }, ...conversations().filter((one) => one.id !== conversation.id)]);
}

export function deleteConversation(id) {
  keep(conversations().filter((one) => one.id !== id));
}
