import { basename, dirname, join } from 'node:path'

/** `decisions.jsonl` -> `decisions.00001.jsonl`: the files of one log, in order of their numbers. */
const NUMBER = /^(.+)\.(\d{5,9})(\.[^.]+)$/

export function numberedPath(path: string, number: number): string {
  const { stem, extension } = parts(path)
  return join(dirname(path), `${stem}.${String(number).padStart(5, '0')}${extension}`)
}

/** The numbers, ascending, of those among `names` that belong to the log `path`. */
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
