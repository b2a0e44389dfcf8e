/** What a text of iperf3 holds: JSON documents as they can be parsed, and lines between them. */
interface IperfText {
  readonly documents: readonly string[]
  readonly strayLines: readonly string[]
}

/** Lines between documents that are kept for the notes. */
const MAX_STRAY_LINES = 5
const NO_NUMBER = /[-+]?(?:nan|inf(?:inity)?)/iy

/**
 * Finds the JSON documents in a text in one pass: several that were appended, a stream of events, and lines of plain
 * text before, between and after them. Makes each what JSON.parse takes: `nan` and `inf` become null, and a key that an
 * object has twice gets `#2` at its second place, as iperf3 3.7 to 3.10 write two `sum` under `--bidir`.
 */
export function findDocuments(text: string): IperfText {
  const documents: string[] = []
  const strayLines: string[] = []
  const scan = new DocumentScan(text)
  let at = text.charCodeAt(0) === 0xfeff ? 1 : 0
  while (at < text.length) {
    const begin = text.indexOf('{', at)
    const stray = text.slice(at, begin < 0 ? text.length : begin)
    for (const line of stray.split('\n', 2 * MAX_STRAY_LINES)) {
      if (line.trim() !== '' && strayLines.length < MAX_STRAY_LINES)
        strayLines.push(line.trim().slice(0, 200))
    }
    if (begin < 0) break
    const { json, end } = scan.from(begin)
    documents.push(json)
    at = end
  }
  return { documents, strayLines }
}

class DocumentScan {
  private readonly text: string
  private readonly pieces: string[] = []
  /** Start of what was not yet copied to `pieces`. */
  private kept = 0

  constructor(text: string) {
    this.text = text
  }

  /** The document that begins at a brace; one that does not end goes to the end of the text. */
  from(begin: number): { json: string; end: number } {
    const { text } = this
    this.pieces.length = 0
    this.kept = begin
    /** Keys of the objects around this place; null for a list. */
    const open: (Map<string, number> | null)[] = []
    let at = begin
    while (at < text.length) {
      const character = text[at]
      if (character === '"') {
        const end = endOfString(text, at)
        const keys = open[open.length - 1]
        if (keys !== null && isKey(text, end)) this.markKey(keys, at, end)
        at = end
        continue
      }
      if (character === '{') open.push(new Map())
      else if (character === '[') open.push(null)
      else if (character === '}' || character === ']') {
        open.pop()
        if (open.length === 0) return { json: this.finish(at + 1), end: at + 1 }
      } else if (/[-+ni]/i.test(character)) {
        NO_NUMBER.lastIndex = at
        const found = NO_NUMBER.exec(text)
        if (found !== null) {
          this.replace(at, at + found[0].length, 'null')
          at += found[0].length
          continue
        }
      }
      at++
    }
    return { json: this.finish(text.length), end: text.length }
  }

  private markKey(keys: Map<string, number>, begin: number, end: number): void {
    const key = this.text.slice(begin + 1, end - 1)
    const times = (keys.get(key) ?? 0) + 1
    keys.set(key, times)
    if (times > 1) this.replace(begin, end, `"${key}#${times}"`)
  }

  private replace(begin: number, end: number, by: string): void {
    this.pieces.push(this.text.slice(this.kept, begin), by)
    this.kept = end
  }

  private finish(end: number): string {
    this.pieces.push(this.text.slice(this.kept, end))
    return this.pieces.join('')
  }
}

/** Behind the closing quote of the string that begins at a quote. */
function endOfString(text: string, begin: number): number {
  for (let at = begin + 1; at < text.length; at++) {
    if (text[at] === '\\') at++
    else if (text[at] === '"') return at + 1
  }
  return text.length
}

function isKey(text: string, end: number): boolean {
  for (let at = end; at < text.length; at++) {
    if (text[at] === ':') return true
    if (!/\s/.test(text[at])) return false
  }
  return false
}
