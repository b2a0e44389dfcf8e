import { mkdtempSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join, resolve } from 'node:path'
import { afterAll, describe, expect, it } from 'vitest'
import { oracleJsonSchema } from '../../src/cli/json/oracle.ts'
import { simulateAloneSchema, simulateRunSchema } from '../../src/cli/json/simulate.ts'
import { runCli } from '../../src/cli/program.ts'
import { COMMANDS } from '../../src/cli/registry.ts'
import { recordIo } from './io.ts'

const root = resolve(import.meta.dirname, '../..')
const scratch = mkdtempSync(join(tmpdir(), 'edgewise-oracle-'))
afterAll(() => rmSync(scratch, { recursive: true, force: true }))
const at = (name: string): string => join(scratch, name)

async function edgewise(...argv: string[]) {
  const io = recordIo()
  const code = await runCli(argv, io, COMMANDS, '0.0.0')
  return { code, out: io.out(), err: io.err(), json: () => JSON.parse(io.out()) }
}

const PAIR = ['--model', 'llama-7b', '--edge', 'jetson-orin-nx', '--cloud', 'a100']
const LINK = ['--up-mbps', '20', '--down-mbps', '100', '--rtt-ms', '30', '--prompt', '64', '--output', '16']

describe('edgewise oracle', () => {
  it('finds an optimum at least as good as the plans beside it, and explains all four', async () => {
    const { code, err, json } = await edgewise('oracle', ...PAIR, ...LINK, '--memory-gb', '20', '--json')
    expect(code, err).toBe(0)
    const found = oracleJsonSchema.parse(json())
    const { optimum, edgeOnly, cloudOnly, bestLayerCut } = found
    if (!optimum || !edgeOnly || !cloudOnly || !bestLayerCut) throw new Error('expected all four')
    expect(optimum.cost).toBeLessThanOrEqual(bestLayerCut.cost * (1 + 1e-9))
    expect(bestLayerCut.cost).toBeLessThanOrEqual(Math.min(edgeOnly.cost, cloudOnly.cost) * (1 + 1e-9))
    expect(edgeOnly).toMatchObject({ upBytes: 0, downBytes: 0, cloudSeconds: 0 })
    expect(
      edgeOnly.plan.layers.every(({ headsOnCloud, ffn }) => headsOnCloud.length === 0 && ffn === 0),
    ).toBe(true)
    expect(
      cloudOnly.plan.layers.every(({ headsOnCloud, ffn }) => headsOnCloud.length === 32 && ffn === 1),
    ).toBe(true)
    expect(found.reasons).toEqual({})
    expect(Object.keys(found.why).sort()).toEqual(['bestLayerCut', 'cloudOnly', 'edgeOnly', 'optimum'])
    const seconds = Object.values(found.why.cloudOnly?.prefill.seconds ?? {})
    expect(seconds.reduce((sum, part) => sum + part, 0)).toBeCloseTo(cloudOnly.ttftSeconds, 9)
  })

  it('says why a plan is missing', async () => {
    const small = oracleJsonSchema.parse(
      (await edgewise('oracle', ...PAIR, ...LINK, '--memory-gb', '4', '--json')).json(),
    )
    expect(small.edgeOnly).toBeNull()
    expect(small.reasons.edgeOnly).toContain('does not fit edge memory')
    const pinned = oracleJsonSchema.parse(
      (
        await edgewise(
          'oracle',
          ...PAIR,
          ...LINK,
          '--edge-layers-first',
          '2',
          '--edge-layers-last',
          '3',
          '--json',
        )
      ).json(),
    )
    expect(pinned.cloudOnly).toBeNull()
    expect(pinned.reasons.cloudOnly).toContain('pinned')
    for (const found of [pinned.optimum, pinned.bestLayerCut]) {
      const ends = [...(found?.plan.layers.slice(0, 2) ?? []), ...(found?.plan.layers.slice(-3) ?? [])]
      expect(ends).toEqual(Array.from({ length: 5 }, () => ({ headsOnCloud: [], ffn: 0 })))
      expect(found?.plan).toMatchObject({ embed: 'edge', head: 'edge' })
    }
    const dead = [...LINK]
    dead[1] = '0'
    const outage = oracleJsonSchema.parse(
      (await edgewise('oracle', ...PAIR, ...dead, '--memory-gb', '20', '--json')).json(),
    )
    expect(outage.cloudOnly).toBeNull()
    expect(outage.optimum?.cost).toBe(outage.edgeOnly?.cost)
    const nothing = oracleJsonSchema.parse(
      (await edgewise('oracle', ...PAIR, ...dead, '--memory-gb', '1', '--json')).json(),
    )
    expect(nothing).toMatchObject({ optimum: null, edgeOnly: null, cloudOnly: null, bestLayerCut: null })
    expect(Object.keys(nothing.reasons)).toHaveLength(4)
  })

  it('prices what the weights say: a dear cloud sends the request home', async () => {
    const cheap = (await edgewise('oracle', ...PAIR, ...LINK, '--memory-gb', '20', '--json')).json()
    const dear = await edgewise(
      'oracle',
      ...PAIR,
      ...LINK,
      '--memory-gb',
      '20',
      '--weights',
      'cloud=1000',
      '--json',
    )
    expect(cheap.optimum.plan.head).toBe('cloud')
    expect(dear.json().optimum.plan.head).toBe('edge')
    expect(dear.json().state.weights).toEqual({ latency: 1, energy: 0, cloud: 1000, bytes: 0, accuracy: 1 })
  })

  it('prints tables for people, with the weights and without control characters', async () => {
    const { out } = await edgewise('oracle', ...PAIR, ...LINK, '--early-exit', '--latency', 'qoe')
    for (const part of [
      'optimum',
      'edge-only',
      'cloud-only',
      'best layer cut',
      'round trips',
      'cost = 1 x latency',
    ])
      expect(out).toContain(part)
    expect(out).not.toContain('\u001b')
  })

  it.each([
    [['--model', 'gpt9', '--edge', 'a100', '--cloud', 'a100', ...LINK], 'gpt9'],
    [[...PAIR], '--prompt'],
    [[...PAIR, ...LINK, '--bits', '5'], '--bits'],
    [[...PAIR, ...LINK, '--latency', 'convex'], '--deadline'],
    [[...PAIR, ...LINK, '--latency', 'fast'], '--latency'],
    [[...PAIR, ...LINK, '--output', '9000'], '4096'],
    [[...PAIR, ...LINK, '--edge-layers-first', '40'], '--edge-layers-first'],
    [[...PAIR, ...LINK, '--edge', 'nope'], 'nope'],
  ])('refuses %j', async (argv, place) => {
    const { code, err, out } = await edgewise('oracle', ...argv)
    expect(code).toBe(2)
    expect(err).toContain(place)
    expect(err).toContain('expected:')
    expect(out).toBe('')
  })
})

describe('edgewise simulate', () => {
  it('agrees with itself three ways on the optimum and on a split by heads', async () => {
    const answer = (await edgewise('oracle', ...PAIR, ...LINK, '--json')).json()
    writeFileSync(at('oracle.json'), JSON.stringify(answer))
    const whole = simulateAloneSchema.parse(
      (await edgewise('simulate', '--plan', at('oracle.json'), ...PAIR, ...LINK, '--json')).json(),
    )
    expect(whole.analytic.cost).toBe(answer.optimum.cost)
    expect(whole.maxRelativeDifference).toBeLessThan(1e-9)
    const split = structuredClone(answer.optimum.plan)
    split.layers[3] = { headsOnCloud: [0, 5, 9], ffn: 2 }
    writeFileSync(at('split.json'), JSON.stringify(split))
    const parts = simulateAloneSchema.parse(
      (await edgewise('simulate', '--plan', at('split.json'), ...PAIR, ...LINK, '--json')).json(),
    )
    expect(parts.maxRelativeDifference).toBeLessThan(1e-9)
    expect(parts.analytic.cost).toBeGreaterThan(whole.analytic.cost)
    const { out } = await edgewise('simulate', '--plan', at('split.json'), ...PAIR, ...LINK)
    expect(out).toContain('reference simulator')
  })

  it('runs a plan through a scenario', async () => {
    const pair = ['--model', 'gpt2', '--edge', 'raspberry-pi-5', '--cloud', 'a100']
    writeFileSync(at('gpt2.json'), (await edgewise('oracle', ...pair, ...LINK, '--json')).out)
    const scenario = join(root, 'configs', 'quickstart.scenario.yaml')
    const run = ['simulate', '--plan', at('gpt2.json'), '--scenario', scenario, '--seed', '3']
    const once = simulateRunSchema.parse((await edgewise(...run, '--json')).json())
    expect(once.requests).toBeGreaterThan(0)
    expect((await edgewise(...run, '--json')).json()).toEqual(once)
    expect((await edgewise(...run)).out).toContain('simulated')
  })

  it.each([
    [['--plan', 'absent.json', ...PAIR, ...LINK], 'absent.json'],
    [[...PAIR, ...LINK], '--plan'],
  ])('refuses %j', async (argv, place) => {
    const { code, err } = await edgewise('simulate', ...argv)
    expect(code).toBe(2)
    expect(err).toContain(place)
  })
})
