// doc
export class Park { open(h) { return `${h}`; } }
function close() { return [1, 2].map(x => x < 2); }
