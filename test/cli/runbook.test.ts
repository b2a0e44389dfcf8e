import { Command } from 'commander'
import { readFileSync, readdirSync } from 'node:fs'
import { join, resolve } from 'node:path'
import { beforeAll, describe, expect, it } from 'vitest'
import type { CliEntry } from '../../src/cli/command.ts'
import { COMMANDS } from '../../src/cli/registry.ts'

const root = resolve(import.meta.dirname, '../..')
const read = (path: string): string => readFileSync(join(root, path), 'utf8')

/** Every command by its words, with the long names of its options; `null` for a group. */
type Commands = ReadonlyMap<string, ReadonlySet<string> | null>

async function commandsOf(
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

/** Command lines of a page: lines of its fenced blocks and inline code, from `edgewise` (or its file) on. */
function linesOf(text: string): string[] {
  const fences = [...text.matchAll(/```sh\n([\s\S]*?)```/g)].flatMap(([, block]) => block.split('\n'))
  const inline = [...text.replace(/```[\s\S]*?```/g, '').matchAll(/`([^`]+)`/g)].map(([, code]) => code)
  return [...fences, ...inline.map((code) => code.replaceAll('\n', ' '))]
    .flatMap((line) => line.split(/ && |; /))
    .filter((line) => /^edgewise [a-z]/.test(line))
}

/** Command lines of units, settings and images, as an operator would type them. */
function deployed(): string[] {
  const units = readdirSync(join(root, 'deploy')).filter((name) => name.endsWith('.service'))
  const started = units.flatMap((name) =>
    [...read(`deploy/${name}`).matchAll(/^ExecStart=\S+ \S*edgewise\.mjs (.*)$/gm)].map(([, rest]) => rest),
  )
  const images = [...read('deploy/Containerfile').matchAll(/^CMD (\[.*\])$/gm)].map(([, words]) =>
    (JSON.parse(words) as string[]).join(' '),
  )
  const settings = ['edge', 'cloud'].map((side) => {
    const options = read(`deploy/${side}.env`).match(/(?<= )--[a-z-]+/g) ?? []
    return `${side} ${options.join(' ')}`
  })
  return [...started, ...images, ...settings].map((line) => `edgewise ${line}`)
}

/** What a line names that is not there; nothing where it is all there. */
function missing(line: string, commands: Commands): string[] {
  const words = line.split(/\s+/).slice(1)
  const depth = commands.get(words[0]) === null ? 2 : 1
  const name = words.slice(0, depth).join(' ')
  const options = commands.get(name)
  if (options === undefined || options === null) return [name]
  return words
    .filter((word) => word.startsWith('--'))
    .map((word) => word.split('=')[0])
    .filter((word) => !options.has(word))
    .map((word) => `${name} ${word}`)
}

let commands: Commands
beforeAll(async () => {
  commands = await commandsOf(COMMANDS)
})

describe.each(['docs/runbook.md', 'deploy/README.md'])('%s', (page) => {
  it('types only commands and options that the program has', () => {
    const lines = linesOf(read(page))
    expect(lines.flatMap((line) => missing(line, commands))).toEqual([])
  })
})

describe('what is deployed', () => {
  it('starts the program with options that it has', () => {
    const lines = deployed()
    expect(lines).toHaveLength(6)
    expect(lines.flatMap((line) => missing(line, commands))).toEqual([])
  })

  it.each(['edge', 'cloud'])('keeps the drain of the %s within what systemd waits', (side) => {
    const unit = read(`deploy/edgewise-${side}.service`)
    const seconds = (pattern: RegExp): number => Number(pattern.exec(unit)?.[1])
    expect(seconds(/^TimeoutStopSec=(\d+)$/m)).toBeGreaterThan(seconds(/--drain-seconds (\d+)/))
  })
})

describe('docs/runbook.md, its metrics', () => {
  it('are those of the program', () => {
    const sources = ['src/serve/http', 'src/serve/edge'].flatMap((folder) =>
      readdirSync(join(root, folder)).map((name) => read(`${folder}/${name}`)),
    )
    const known = new Set(sources.flatMap((text) => text.match(/(?<=')edgewise_[a-z_]+(?=')/g) ?? []))
    const named = new Set(read('docs/runbook.md').match(/\bedgewise_[a-z_]+/g))
    expect(named.size).toBeGreaterThan(10)
    expect([...named].filter((name) => !known.has(name))).toEqual([])
  })
})

describe('the check itself', () => {
  it('finds commands in blocks and in words, and what they lack', () => {
    const page =
      'Say `edgewise oracle --up-mbps 3` or:\n\n```sh\nls && edgewise trace shw x\nedgewise nope\n```\n'
    const lines = linesOf(page)
    expect(lines).toEqual(['edgewise trace shw x', 'edgewise nope', 'edgewise oracle --up-mbps 3'])
    expect(lines.flatMap((line) => missing(line, commands))).toEqual(['trace shw', 'nope'])
    expect(missing('edgewise oracle --up-mbsp=3 --json', commands)).toEqual(['oracle --up-mbsp'])
  })
})
