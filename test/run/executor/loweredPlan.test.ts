import { describe, expect, test } from 'vitest'
import { randomStream } from '../../../src/core/random.ts'
import { lowerPlan, subgraphLabel, type ExecutionStep } from '../../../src/run/executor/loweredPlan.ts'
import type { ModelSpec } from '../../../src/model/spec.ts'
import { boundaryBytes, tokenIdBytes } from '../../../src/plan/price/boundary.ts'
import { compileProgram } from '../../../src/plan/price/compile.ts'
import { CLOUD, EDGE, needsCloud } from '../../../src/plan/plan.ts'
import { RESOURCE, type StageList } from '../../../src/plan/price/program.ts'
import { randomPair } from '../../plan/random-pair.ts'
import { cutAt, randomPlan, withRandomWidths } from './random-plan.ts'

const PROMPT = 17

/** What a step is to the cost model: its resource and its bytes. */
function priced(model: ModelSpec, step: ExecutionStep, rows: number) {
  if (step.kind === 'compute')
    return { resource: step.side === EDGE ? RESOURCE.edge : RESOURCE.cloud, bytes: 0 }
  const resource = step.from === EDGE ? RESOURCE.up : RESOURCE.down
  const network = randomPair(randomStream(1, 'network'), { layers: 1, units: 1 }).network
  if (step.carries === 'token') return { resource, bytes: tokenIdBytes(network, 1) }
  if (step.carries === 'ids') return { resource, bytes: tokenIdBytes(network, rows) }
  const columns = step.carries === 'x+hidden' ? model.width + model.ffnWidth : model.width
  return { resource, bytes: boundaryBytes(network, step.lastRow ? 1 : rows, columns, step.bits!) }
}

const stagesOf = (list: StageList) => list.stages.map(({ resource, bytes }) => ({ resource, bytes }))

describe('the schedule of a plan', () => {
  test('has the stages that the cost model prices, one for one, with their bytes', () => {
    for (let seed = 0; seed < 300; seed++) {
      const random = randomStream(seed, 'schedules')
      const pair = randomPair(random, {
        layers: 1 + random.integer(5),
        units: 1 + random.integer(4),
        grouped: seed % 3 === 0,
      })
      const bits = ([32, 16, 8, 4] as const)[random.integer(4)]
      const uniform = randomPlan(random, pair.model, bits)
      const { plan, cloudUnits } = seed % 2 === 0 ? uniform : withRandomWidths(random, uniform)
      const program = compileProgram(pair, plan, {
        promptTokens: PROMPT,
        loadBytes: 0,
        decisionSeconds: 0,
      })
      const schedule = lowerPlan(pair.model, plan, cloudUnits)
      const of = (steps: readonly ExecutionStep[], rows: number) =>
        steps.map((step) => priced(pair.model, step, rows))
      expect(of(schedule.prefill, PROMPT)).toEqual(stagesOf(program.prefill))
      expect(of(schedule.decode, 1)).toEqual(stagesOf(program.cycles[0]))
    }
  })

  test('sends what belongs to a layer at its width, and what goes to the head at that of the plan', () => {
    const { model } = randomPair(randomStream(1, 'widths'), { layers: 3, units: 2 })
    const { plan, cloudUnits } = cutAt(model, 1, EDGE, EDGE, 32)
    const widths = (layerBits: Uint8Array) =>
      lowerPlan(model, { ...plan, layerBits }, cloudUnits).decode.flatMap((step) =>
        step.kind === 'send' ? [step.bits] : [],
      )
    expect(widths(Uint8Array.of(4, 8, 16))).toEqual([8, 32])
    expect(widths(Uint8Array.of(4, 4, 4))).toEqual([4, 32])
  })

  test('computes every block once, with every unit once', () => {
    for (let seed = 0; seed < 100; seed++) {
      const random = randomStream(seed, 'blocks')
      const { model } = randomPair(random, { layers: 3, units: 4 })
      const { plan, cloudUnits } = randomPlan(random, model)
      const parts = lowerPlan(model, plan, cloudUnits).prefill.flatMap((step) =>
        step.kind === 'compute' ? step.segment.parts : [],
      )
      expect(parts.filter(({ kind }) => kind === 'embed' || kind === 'head')).toHaveLength(2)
      for (let layer = 0; layer < 3; layer++) {
        const shares = parts.flatMap((part) =>
          part.kind === 'attention' && part.layer === layer ? [part] : [],
        )
        expect(shares.flatMap(({ units }) => units).sort()).toEqual([0, 1, 2, 3])
        expect(shares.filter(({ residual }) => residual)).toHaveLength(1)
        const halves = parts.flatMap((part) =>
          part.kind === 'ffn' && part.layer === layer ? [part.part] : [],
        )
        expect([['whole'], ['first', 'second']]).toContainEqual(halves)
      }
    }
  })

  test('all on one side is one segment; a cut is two and a message each way', () => {
    const { model } = randomPair(randomStream(1, 'cuts'), { layers: 4, units: 2 })
    const labels = (cut: number, embed: 0 | 1, head: 0 | 1) => {
      const { plan, cloudUnits } = cutAt(model, cut, embed, head)
      return lowerPlan(model, plan, cloudUnits).decode.map((step) =>
        step.kind === 'compute'
          ? `${step.side === EDGE ? 'edge' : 'cloud'}: ${subgraphLabel(step.segment)}`
          : step.carries,
      )
    }
    expect(labels(4, EDGE, EDGE)).toEqual(['edge: embed, layers 0-3, head'])
    expect(labels(0, CLOUD, CLOUD)).toEqual(['cloud: embed, layers 0-3, head', 'token'])
    expect(labels(1, EDGE, CLOUD)).toEqual(['edge: embed, layer 0', 'x', 'cloud: layers 1-3, head', 'token'])
    expect(labels(2, EDGE, EDGE)).toEqual([
      'edge: embed, layers 0-1',
      'x',
      'cloud: layers 2-3',
      'x',
      'edge: head',
    ])
  })

  test('has a step that is not on the edge exactly where the plan needs the cloud', () => {
    const { model } = randomPair(randomStream(1, 'need'), { layers: 2, units: 2 })
    const needs = (cut: number, end: 0 | 1) => needsCloud(cutAt(model, cut, end, end).plan)
    expect([needs(2, EDGE), needs(1, EDGE), needs(0, CLOUD)]).toEqual([false, true, true])
    for (let seed = 0; seed < 200; seed++) {
      const random = randomStream(seed, 'need')
      const { plan, cloudUnits } = randomPlan(random, { ...model, layers: 1 + random.integer(2) })
      const { prefill } = lowerPlan({ ...model, layers: plan.ffn.length }, plan, cloudUnits)
      const isAway = (step: ExecutionStep) => step.kind === 'send' || step.side === CLOUD
      expect(needsCloud(plan)).toBe(prefill.some(isAway))
    }
  })
})
