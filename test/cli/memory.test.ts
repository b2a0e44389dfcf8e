import { mkdtempSync, readdirSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterAll, describe, expect, it } from 'vitest'
import { systemClock } from '../../src/core/clock.ts'
import { runCli } from '../../src/cli/program.ts'
import { COMMANDS } from '../../src/cli/registry.ts'
import { recordIo } from './io.ts'

const scratch = mkdtempSync(join(tmpdir(), 'edgewise-memory-cli-'))
afterAll(() => rmSync(scratch, { recursive: true, force: true }))

const BUNDLE = join(import.meta.dirname, '../fixtures/serve/bundle')
/** Weights of tales in fp32, and its K/V of one token where all layers are on the edge. */
const WEIGHTS = 3_268_608
const KV = 8 * 3 * 2 * 16 * 4

function edge(...argv: string[]) {
  const cache = mkdtempSync(join(scratch, 'cache'))
  const io = recordIo({ clock: systemClock, env: { XDG_CACHE_HOME: cache } })
  const code = runCli(['edge', '--model', 'tales', ...argv], io, COMMANDS, '0.0.0')
  /** Graphs that were made: none where nothing was loaded. */
  const graphs = (): string[] =>
    readdirSync(cache, { recursive: true, encoding: 'utf8' }).filter((name) => name.endsWith('.onnx'))
  return { io, code, graphs }
}

/** It ends with a usage error that gives both numbers, before anything is loaded. */
async function expectRefused(needed: RegExp, limit: number, ...argv: string[]): Promise<void> {
  const { io, code, graphs } = edge('--memory-gb', String(limit / 1e9), ...argv)
  expect(await code, io.err()).toBe(2)
  expect(io.err()).toMatch(needed)
  expect(io.err()).toContain(`found: ${limit} bytes`)
  expect(io.out()).toBe('')
  expect(graphs()).toEqual([])
}

const ids = ['--ids', '1,2,3', '--max-new-tokens', '7']

describe('--memory-gb', () => {
  it('refuses a forced plan that does not fit, with both numbers and before anything is loaded', async () => {
    const needed = new RegExp(
      `at least ${WEIGHTS + 10 * KV} bytes.*${WEIGHTS} of weights and ${10 * KV} of K/V`,
    )
    await expectRefused(needed, 300_000, '--plan', 'edge', ...ids)
  })

  it('counts K/V: a byte less than weights and caches is too little, and as much is enough', async () => {
    const exactly = WEIGHTS + 10 * KV
    await expectRefused(/of K\/V for 10 tokens/, exactly - 1, '--plan', 'edge', ...ids)
    const { io, code } = edge('--memory-gb', String(exactly / 1e9), '--plan', 'edge', ...ids)
    expect(await code, io.err()).toBe(0)
    expect(io.out()).not.toBe('')
  })

  it('carries requests out one after the other where only one fits', async () => {
    const { io, code } = edge(
      '--memory-gb',
      String((WEIGHTS + 15 * KV) / 1e9),
      '--plan',
      'edge',
      '--count',
      '3',
      '--json',
      ...ids,
    )
    expect(await code, io.err()).toBe(0)
  })

  it("refuses a policy's plan that does not fit", async () => {
    await expectRefused(/at least \d+ bytes.*of weights/, 300_000, '--bundle', BUNDLE, ...ids)
  })

  it.each([
    ['a forced plan', ['--plan', 'edge']],
    ['a static fallback', []],
    ['a policy', ['--bundle', BUNDLE]],
  ])('refuses to serve %s that no request fits', async (_, argv) => {
    await expectRefused(
      new RegExp(`at least ${WEIGHTS + 2 * KV} bytes`),
      300_000,
      ...argv,
      '--listen',
      '127.0.0.1:0',
    )
  })

  it('serves a model that fits: the head of tales is its embedding', async () => {
    const { io, code } = edge(
      '--memory-gb',
      '0.00328',
      '--listen',
      '127.0.0.1:0',
      '--json',
      '--log',
      join(scratch, 'log'),
    )
    let over = false
    void code.then(() => (over = true))
    await expect.poll(() => io.out().includes('\n') || over, { timeout: 20_000 }).toBe(true)
    expect(JSON.parse(io.out().split('\n')[0]), io.err()).toMatchObject({ serving: { model: 'tales' } })
    io.interrupt()
    expect(await code).toBe(130)
  })

  it('of a cloud refuses requests whose plan needs more weights there', async () => {
    const env = { XDG_CACHE_HOME: mkdtempSync(join(scratch, 'cache')) }
    const io = recordIo({ clock: systemClock, env })
    const argv = ['cloud', '--model', 'tales', '--listen', '127.0.0.1:0', '--json', '--memory-gb', '0.003']
    const code = runCli(argv, io, COMMANDS, '0.0.0')
    await expect.poll(() => io.out().includes('\n'), { timeout: 20_000 }).toBe(true)
    const { listening } = JSON.parse(io.out()) as { listening: { port: number } }
    const to = ['--cloud', `127.0.0.1:${listening.port}`]
    const refused = edge(...to, '--plan', 'cloud', ...ids)
    expect(await refused.code).not.toBe(0)
    expect(refused.io.err()).toMatch(new RegExp(`fit 3000000 bytes[^]*found: ${WEIGHTS} bytes`))
    const half = edge(...to, '--plan', 'cut:4', ...ids)
    expect(await half.code, half.io.err()).toBe(0)
    io.interrupt()
    expect(await code).toBe(130)
  })
})
