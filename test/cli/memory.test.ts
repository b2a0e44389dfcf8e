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

function edgewise(...argv: string[]) {
  const cache = mkdtempSync(join(scratch, 'cache'))
  const io = recordIo({ clock: systemClock, env: { XDG_CACHE_HOME: cache } })
  return { io, cache, code: runCli(argv, io, COMMANDS, '0.0.0') }
}

async function firstLine({ io, code }: Pick<ReturnType<typeof edgewise>, 'io' | 'code'>): Promise<unknown> {
  let over = false
  void code.then(() => (over = true))
  await expect.poll(() => io.out().includes('\n') || over, { timeout: 20_000 }).toBe(true)
  return JSON.parse(io.out().split('\n')[0] || JSON.stringify(io.err()))
}

function edge(...argv: string[]) {
  const { io, cache, code } = edgewise('edge', '--model', 'tales', ...argv)
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
      ...['--listen', '127.0.0.1:0', '--log', mkdtempSync(join(scratch, 'log'))],
    )
  })

  it('serves a model that fits: the head of tales is its embedding', async () => {
    const serving = ['--listen', '127.0.0.1:0', '--json', '--log', join(scratch, 'log')] as const
    const served = edge('--memory-gb', '0.00328', ...serving)
    const { io, code } = served
    expect(await firstLine(served), io.err()).toMatchObject({ serving: { model: 'tales' } })
    io.interrupt()
    expect(await code).toBe(130)
  })

  it('keeps no more boundary tensors for a replay than weights and K/V leave', async () => {
    const cloud = edgewise('cloud', '--model', 'tales', '--listen', '127.0.0.1:0', '--json')
    const { listening } = (await firstLine(cloud)) as { listening: { port: number } }
    // Embedding and the first layer; K/V and the boundary tensor of a token are as large as each other there.
    const [weights, row, tokens, spare] = [4 * (64 * 96 + 27_648 + 73_728), 384, 500, 20_000]
    const limit = String((weights + row * tokens + spare) / 1e9)
    const to = ['--cloud', `127.0.0.1:${listening.port}`, '--plan', 'cut:1', '--memory-gb', limit] as const
    const serving = ['--listen', '127.0.0.1:0', '--json', '--log', join(scratch, 'kept')] as const
    const served = edgewise('edge', '--model', 'tales', ...to, ...serving)
    const { url } = ((await firstLine(served)) as { serving: { url: string } }).serving
    const leave = new AbortController()
    const answer = await fetch(`${url}/v1/completions`, {
      method: 'POST',
      headers: { 'content-type': 'application/json' },
      body: JSON.stringify({ model: 'tales', prompt: 'a bear '.repeat(50), max_tokens: 100, stream: true }),
      signal: leave.signal,
    })
    expect((await answer.body!.getReader().read()).done).toBe(false)
    const metrics = await (await fetch(`${url}/metrics`)).text()
    const kept = Number(/^edgewise_checkpoint_bytes (\d+)$/m.exec(metrics)?.[1])
    leave.abort()
    for (const { io, code } of [served, cloud]) {
      io.interrupt()
      expect(await code).toBe(130)
    }
    expect(kept).toBeLessThanOrEqual(spare)
  })

  it('of a cloud refuses requests whose plan needs more weights there', async () => {
    const cloud = edgewise(
      'cloud',
      '--model',
      'tales',
      '--listen',
      '127.0.0.1:0',
      '--json',
      '--memory-gb',
      '0.003',
    )
    const { io, code } = cloud
    const { listening } = (await firstLine(cloud)) as { listening: { port: number } }
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
