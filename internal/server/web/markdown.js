// A small renderer for the Markdown that models write. It builds nodes and sets
// textContent; no text is ever parsed as HTML, whatever a model or a page that
// it quotes may say.

const el = (tag, text) => {
  const node = document.createElement(tag);
  if (text !== undefined) node.textContent = text;
  return node;
};

// Inline forms, the first that matches at the leftmost place wins.
const inline = /(`+)([^`]|[^`][\s\S]*?[^`])\1(?!`)|\*\*(?=\S)([\s\S]*?\S)\*\*|(?<![\w*])\*(?=[^\s*])([^*]*[^\s*])\*(?!\*)|(?<!\w)_(?=\S)([^_]*\S)_(?!\w)|\[([^\]]+)\]\((https?:\/\/[^\s()]+)\)/;

function appendInline(parent, text) {
  for (;;) {
    const m = inline.exec(text);
    if (!m) break;
    if (m.index > 0) parent.append(text.slice(0, m.index));
    if (m[2] !== undefined) {
      parent.append(el("code", m[2]));
    } else if (m[3] !== undefined) {
      appendInline(parent.appendChild(el("strong")), m[3]);
    } else if (m[4] !== undefined || m[5] !== undefined) {
      appendInline(parent.appendChild(el("em")), m[4] ?? m[5]);
    } else {
      const a = el("a", m[6]);
      a.href = m[7]; // http and https only, see the expression
      a.rel = "noopener noreferrer";
      a.target = "_blank";
      parent.append(a);
    }
    text = text.slice(m.index + m[0].length);
  }
  if (text) parent.append(text);
}

const fence = /^ {0,3}(```+|~~~+)(.*)$/;
const item = /^(\s*)([-*+]|\d{1,9}[.)])\s+(.*)$/;

// list reads the items from line i on and returns the line behind them.
function list(parent, lines, i) {
  const ordered = /\d/.test(item.exec(lines[i])[2]);
  const indent = item.exec(lines[i])[1].length;
  const node = parent.appendChild(el(ordered ? "ol" : "ul"));
  if (ordered) node.start = parseInt(item.exec(lines[i])[2], 10);
  let last = null;
  while (i < lines.length) {
    const m = item.exec(lines[i]);
    if (m && m[1].length > indent + 1 && last) {
      i = list(last, lines, i);
    } else if (m && m[1].length >= indent && /\d/.test(m[2]) === ordered) {
      last = node.appendChild(el("li"));
      appendInline(last, m[3]);
      i++;
    } else if (!m && lines[i].trim() !== "" && /^\s/.test(lines[i]) && last) {
      last.append(" ");
      appendInline(last, lines[i].trim());
      i++;
    } else {
      break;
    }
  }
  return i;
}

// render puts text into parent, whose children it replaces.
export function render(parent, text) {
  parent.replaceChildren();
  const lines = text.replace(/\r\n?/g, "\n").split("\n");
  let i = 0;
  while (i < lines.length) {
    const line = lines[i];
    let m;
    if (line.trim() === "") {
      i++;
    } else if ((m = fence.exec(line))) {
      const code = [];
      for (i++; i < lines.length && !lines[i].trimStart().startsWith(m[1]); i++) code.push(lines[i]);
      i++;
      parent.appendChild(el("pre")).append(el("code", code.join("\n")));
    } else if ((m = /^(#{1,6})\s+(.*)$/.exec(line))) {
      appendInline(parent.appendChild(el("h" + Math.min(4, m[1].length + 1))), m[2]);
      i++;
    } else if (/^ {0,3}([-*_])( *\1){2,} *$/.test(line)) {
      parent.append(el("hr"));
      i++;
    } else if (/^ {0,3}> ?/.test(line)) {
      const quoted = [];
      for (; i < lines.length && /^ {0,3}> ?/.test(lines[i]); i++) quoted.push(lines[i].replace(/^ {0,3}> ?/, ""));
      render(parent.appendChild(el("blockquote")), quoted.join("\n"));
    } else if (item.test(line)) {
      i = list(parent, lines, i);
    } else {
      const p = parent.appendChild(el("p"));
      for (let first = true; i < lines.length && lines[i].trim() !== "" && !fence.test(lines[i]) && !item.test(lines[i]) && !/^#{1,6}\s/.test(lines[i]); i++) {
        if (!first) p.append(el("br"));
        first = false;
        appendInline(p, lines[i]);
      }
      if (!p.hasChildNodes()) { // a line that no form above takes as its own
        appendInline(p, lines[i]);
        i++;
      }
    }
  }
}
