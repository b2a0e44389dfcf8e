import { readFileSync, readdirSync } from 'node:fs'
import { join, resolve } from 'node:path'
import { beforeAll, describe, expect, it } from 'vitest'
import { COMMANDS } from '../../src/cli/registry.ts'
import { commandsOf, missing, type Commands } from './commandLines.ts'

const root = resolve(import.meta.dirname, '../..')
const read = (path: string): string => readFileSync(join(root, path), 'utf8')

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

let commands: Commands
beforeAll(async () => {
  commands = await commandsOf(COMMANDS)
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
