import fc from 'fast-check'
import { readFileSync, writeFileSync } from 'node:fs'
import { join, resolve } from 'node:path'
import { describe, expect, it } from 'vitest'
import { EdgewiseError, InputError } from '../../../src/core/errors.ts'
import { edgeOnly } from '../../../src/plan/planners/fixed.ts'
import { compileProgram } from '../../../src/plan/price/compile.ts'
import { evaluateProgram } from '../../../src/plan/price/evaluate.ts'
import { pairUnits } from '../../../src/plan/price/pair.ts'
import { EDGE, uniformPlan } from '../../../src/plan/plan.ts'
import { runEpisode } from '../../../src/learn/evaluate/episode.ts'
import { loadScenario } from '../../../src/sim/scenario/scenario.ts'
import { inFolder, tinyScenario, writeConfig, type ScenarioInput } from './tiny.ts'

async function load(config: unknown) {
  return inFolder((folder) => loadScenario(writeConfig(folder, 'scenario.yaml', config)))
}

/** The problem a config is refused for. */
async function refusal(config: unknown): Promise<InputError['problem']> {
  try {
    await load(config)
  } catch (error) {
    if (!(error instanceof InputError)) throw error
    expect(error.exitCode).toBe(2)
    return error.problem
  }
  throw new Error('expected a refusal')
}

const base = tinyScenario()
const { workload, service, plans, objective, links } = base

describe('the precision that the sides run', () => {
  const measured = resolve('test/fixtures/serve/device.profile.json')
  const onProfile = { ...base, model: 'tales', edge: measured }

  it('is, where the scenario says none, that of each profile or data sheet', async () => {
    const { pair } = (await load(onProfile)).problem
    expect([pair.edgePrecision, pair.cloudPrecision]).toEqual(['fp32', 'fp16'])
  })

  it('is that of the scenario: a data sheet is modelled at it, a profile of another one refused', async () => {
    const asked = { ...onProfile, precision: { edge: 'fp32', cloud: 'fp32' } }
    const [own, chosen] = [await load(onProfile), await load(asked)]
    expect(chosen.problem.pair.cloudPrecision).toBe('fp32')
    expect(chosen.problem.pair.cloud.headSeconds()).toBeGreaterThan(own.problem.pair.cloud.headSeconds())
    const { expected, found, remedy } = await refusal({ ...onProfile, precision: { edge: 'int4' } })
    expect(expected).toBe('figures of tales at int4, the precision that the edge runs')
    expect(found).toBe('measured: vm, fp32')
    expect(remedy).toContain('precision: { edge: fp32 }')
  })
})

describe('a bad scenario', () => {
  const cases: [string, unknown, RegExp][] = [
    ['no schema', { ...base, schema: undefined }, /schema/],
    ['an unknown field', { ...base, colour: 'red' }, /colour/],
    ['an unknown model', { ...base, model: 'gpt9' }, /gpt9/],
    ['an unknown device', { ...base, edge: 'toaster' }, /toaster/],
    ['a load of 0', { ...base, workload: { ...workload, load: 0 } }, /workload\.load/],
    ['text for a number', { ...base, cloudSlots: 'many' }, /cloudSlots/],
    ['5-bit boundaries', { ...base, plans: { ...plans, boundaryBits: [5] } }, /plans\.boundaryBits/],
    ['no links', { ...base, links: { ...links, train: [] } }, /links\.train/],
    ['a link file that is not there', { ...base, links: { ...links, test: ['none.yaml'] } }, /none\.yaml/],
    [
      'tenants without a sojourn each',
      { ...base, tenants: { levels: [0, 1], meanSojournSeconds: [1] } },
      /tenants/,
    ],
    [
      'half a token',
      { ...base, workload: { ...workload, lengths: { promptTokens: 1.5, outputTokens: 3 } } },
      /promptTokens/,
    ],
    ['answers past the context', { ...base, workload: { ...workload, maxNewTokens: 512 } }, /maxNewTokens/],
    [
      'more pinned layers than there are',
      { ...base, plans: { ...plans, edgeLayersFirst: 3, edgeLayersLast: 2 } },
      /edgeLayers/,
    ],
    [
      'pinned ends that do not fit',
      {
        ...base,
        plans: { ...plans, edgeLayersFirst: 2, edgeLayersLast: 2 },
        service: { ...service, edgeMemoryGb: 1e-4 },
      },
      /edgeMemoryGb/,
    ],
    [
      'a link that never carries anything',
      { ...base, links: { ...links, train: [{ upMbps: 0, downMbps: 5, rttMs: 1 }] } },
      /links\.train/,
    ],
  ]
  it.each(cases)('with %s is refused by one error that names it', async (_, config, place) => {
    const { where, expected, found } = await refusal(config)
    expect(`${where} ${expected} ${found}`).toMatch(place)
    expect(expected.length).toBeGreaterThan(0)
  })

  it('of any kind never ends in anything but an EdgewiseError', async () => {
    const text = JSON.stringify(base)
    const keys = Object.keys(base)
    const broken = fc.oneof(
      fc.string(),
      fc.json(),
      fc.tuple(fc.nat(text.length - 1), fc.string({ maxLength: 3 })).map(([at, insert]) => {
        return text.slice(0, at) + insert + text.slice(at + 1)
      }),
      fc.tuple(fc.constantFrom(...keys), fc.jsonValue()).map(([key, value]) => {
        return JSON.stringify({ ...base, [key]: value })
      }),
    )
    await inFolder((folder) =>
      fc.assert(
        fc.asyncProperty(broken, async (content) => {
          const path = join(folder, 'scenario.yaml')
          writeFileSync(path, content)
          try {
            await loadScenario(path)
          } catch (error) {
            expect(error).toBeInstanceOf(EdgewiseError)
          }
        }),
        { numRuns: 150 },
      ),
    )
  })
})

describe('a scenario', () => {
  it('draws equal worlds for equal splits and seeds, and others for others', async () => {
    const [one, two] = [await load(base), await load(base)]
    expect(one.hash).toBe(two.hash)
    const arrivalsOf = (scenario: typeof one, split: 'train' | 'test', seed: number) =>
      scenario.world(split, seed).arrivals
    expect(arrivalsOf(one, 'train', 5)).toEqual(arrivalsOf(two, 'train', 5))
    expect(one.world('train', 5).tenants).toEqual(two.world('train', 5).tenants)
    expect(arrivalsOf(one, 'train', 5)).not.toEqual(arrivalsOf(one, 'train', 6))
    expect(arrivalsOf(one, 'train', 5)).not.toEqual(arrivalsOf(one, 'test', 5))
    const run = (scenario: typeof one) => runEpisode(scenario, edgeOnly(scenario.problem), 'test', 3)
    expect(run(one)).toEqual(run(two))
  })

  it('has another hash when anything that matters changes', async () => {
    const { hash } = await load(base)
    const changes: ScenarioInput[] = [
      tinyScenario({ workload: { ...workload, load: 0.61 } }),
      tinyScenario({ objective: { ...objective, weights: { ...objective.weights, cloud: 1.01 } } }),
      tinyScenario({ edge: 'jetson-orin-nx' }),
    ]
    for (const changed of changes) expect((await load(changed)).hash).not.toBe(hash)
  })

  it('scales arrivals so that mean rate times the mean service on the edge is the load', async () => {
    for (const share of [0.3, 0.9]) {
      const scenario = await load(
        tinyScenario({
          workload: {
            ...workload,
            arrivals: { kind: 'poisson' },
            load: share,
            requestsPerEpisode: 400,
            lengths: { promptTokens: 40, outputTokens: 20 },
          },
        }),
      )
      const { pair } = scenario.problem
      const plan = uniformPlan(pair.model.layers, pairUnits(pair), EDGE)
      const program = compileProgram(pair, plan, { promptTokens: 40, loadBytes: 0, decisionSeconds: 0 })
      const link = { upBitsPerSecond: 1, downBitsPerSecond: 1, rttSeconds: 0 }
      const question = { ...scenario.problem, link, promptTokens: 40, outputTokens: 20 }
      const service = evaluateProgram(program, question).edgeSeconds
      expect(scenario.meanRatePerSecond * service).toBeCloseTo(share, 9)
      const { arrivals } = scenario.world('train', 1)
      const rate = arrivals.length / arrivals[arrivals.length - 1].arrivalSeconds
      // 400 exponential gaps: a standard deviation of 5 %.
      expect(Math.abs(rate * service - share) / share).toBeLessThan(0.2)
    }
  })

  it('takes replacements from the command line', async () => {
    await inFolder(async (folder) => {
      const path = writeConfig(folder, 'scenario.yaml', base)
      const other = await loadScenario(path, { edge: 'jetson-orin-nx', requestsPerEpisode: 3, load: 0.2 })
      expect(other.problem.pair.edge.profile.device.id).toBe('jetson-orin-nx')
      expect(other.world('test', 0).arrivals).toHaveLength(3)
      expect(other.config.workload.load).toBe(0.2)
      await expect(loadScenario(path, { load: -1 })).rejects.toThrow(/load/)
    })
  })

  it('of quickstart loads, and its links are as its splits say', async () => {
    const path = join(import.meta.dirname, '../../../configs/quickstart.scenario.yaml')
    const scenario = await loadScenario(path, { edge: 'raspberry-pi-5' })
    const { train, validation, test } = scenario.links
    expect(readFileSync(path, 'utf8')).toContain('schema: edgewise.scenario/1')
    const labels = [train, validation, test].map((sources) => sources.map(({ label }) => label))
    // No link of one split in another.
    expect(new Set(labels.flat()).size).toBe(labels.flat().length)
    expect(scenario.world('test', 0).arrivals.length).toBeGreaterThan(0)
  })
})
