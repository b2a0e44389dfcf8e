import { Command } from 'commander'
import type { CliEntry } from '../../src/cli/command.ts'

/** Every command by its words, with the long names of its options; `null` for a group. */
export type Commands = ReadonlyMap<string, ReadonlySet<string> | null>

export async function commandsOf(
  entries: readonly CliEntry[],
  before = '',
): Promise<Map<string, Set<string> | null>> {
  const found = new Map<string, Set<string> | null>()
  for (const entry of entries) {
    const words = `${before}${entry.name}`
    const loaded = await entry.load()
    if ('entries' in loaded) {
      found.set(words, null)
      for (const [name, options] of await commandsOf(loaded.entries, `${words} `)) found.set(name, options)
    } else {
      const command = new Command(entry.name)
      loaded.configure(command)
      found.set(words, new Set(['--help', ...command.options.map(({ long }) => long ?? '')]))
    }
  }
  return found
}

/**
 * Command lines of a page: lines of its fenced blocks (after a prompt, comments left out, continued lines joined) and its inline
 * code, from `edgewise` (or, in a clone, `node dist/cli.js`) on.
 */
export function linesOf(text: string): string[] {
  const fences = [...text.matchAll(/```\w*\n([\s\S]*?)```/g)].flatMap(([, block]) =>
    block.replaceAll('\\\n', ' ').split('\n'),
  )
  const inline = [...text.replace(/```[\s\S]*?```/g, '').matchAll(/`([^`]+)`/g)].map(([, code]) => code)
  return [...fences, ...inline.map((code) => code.replaceAll('\n', ' '))]
    .flatMap((line) => line.split(/ && |; /))
    .map((line) =>
      line
        .replace(/^\$ /, '')
        .replace(/^node dist\/cli\.js/, 'edgewise')
        .replace(/ +# .*$/, ''),
    )
    .filter((line) => /^edgewise [a-z]/.test(line))
}

/** What a line names that is not there; nothing where it is all there. */
export function missing(line: string, commands: Commands): string[] {
  const words = line.split(/\s+/).slice(1)
  const isGroup = commands.get(words[0]) === null
  if (isGroup && words.length === 1) return []
  const depth = isGroup ? 2 : 1
  const name = words.slice(0, depth).join(' ')
  const options = commands.get(name)
  if (options === undefined || options === null) return [name]
  return words
    .filter((word) => word.startsWith('--'))
    .map((word) => word.split('=')[0])
    .filter((word) => !options.has(word))
    .map((word) => `${name} ${word}`)
}
