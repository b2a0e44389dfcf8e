import { basename, dirname, join } from 'node:path'

/**
 * Matches numbered files: `decisions.jsonl` is stored as `decisions.00001.jsonl`, `decisions.00002.jsonl` and so on.
 */
const NUMBER = /^(.+)\.(\d{5,9})(\.[^.]+)$/

/** Path of file `number` of the log `path`. */
export function numberedPath(path: string, number: number): string {
  const { stem, extension } = parts(path)
  return join(dirname(path), `${stem}.${String(number).padStart(5, '0')}${extension}`)
}

/** The numbers, ascending, of the files of the log `path` among `names`. */
export function numbersOf(path: string, names: readonly string[]): number[] {
  const { stem, extension } = parts(path)
  const found: number[] = []
  for (const name of names) {
    const match = NUMBER.exec(name)
    if (match !== null && match[1] === stem && match[3] === extension) found.push(Number(match[2]))
  }
  return found.sort((a, b) => a - b)
}

function parts(path: string): { stem: string; extension: string } {
  const name = basename(path)
  const dot = name.lastIndexOf('.')
  return dot <= 0 ? { stem: name, extension: '' } : { stem: name.slice(0, dot), extension: name.slice(dot) }
}
