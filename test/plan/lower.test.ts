import { describe, expect, test } from 'vitest'
import { randomStream, type RandomStream } from '../../src/core/random.ts'
import {
  lowerPlan,
  rowElements,
  sideSteps,
  subgraphLabel,
  subgraphsOf,
  type LoweredPass,
  type LoweredPlan,
  type RunStep,
  type SendStep,
} from '../../src/plan/lower.ts'
import { CLOUD, EDGE, exitPlan, needsCloud } from '../../src/plan/plan.ts'
import { boundaryBytes, tokenIdBytes } from '../../src/plan/price/boundary.ts'
import { compileProgram, promptSeconds } from '../../src/plan/price/compile.ts'
import { callCosts, type DevicePair } from '../../src/plan/price/pair.ts'
import { RESOURCE, type StageList } from '../../src/plan/price/program.ts'
import { cutAt, randomPlan } from '../run/executor/randomPlan.ts'
import { anyPlan } from './anyPlan.ts'
import { randomPair } from './randomPair.ts'
import { sourcesThatSay } from './sources.ts'

const PROMPT = 17

/** The steps that take time or bytes, of which each is a stage. */
function pricedSteps({ steps }: LoweredPass): (RunStep | SendStep)[] {
  return steps.filter((step): step is RunStep | SendStep => step.kind !== 'sample')
}

/** What a step is to the cost model: its resource and its bytes. */
function priced({ model, network }: DevicePair, step: RunStep | SendStep, rows: number) {
  if (step.kind === 'run') return { resource: step.side === EDGE ? RESOURCE.edge : RESOURCE.cloud, bytes: 0 }
  const resource = step.from === EDGE ? RESOURCE.up : RESOURCE.down
  if (step.carries === 'token') return { resource, bytes: tokenIdBytes(network, 1) }
  if (step.carries === 'ids') return { resource, bytes: tokenIdBytes(network, rows) }
  const tokens = step.lastRow ? 1 : rows
  return { resource, bytes: boundaryBytes(network, tokens, rowElements(model, step.carries), step.bits!) }
}

const stagesOf = (list: StageList) => list.stages.map(({ resource, bytes }) => ({ resource, bytes }))

function anyPair(random: RandomStream, seed: number): DevicePair {
  const shape = { layers: 2 + random.integer(4), units: 1 + random.integer(4), grouped: seed % 3 === 0 }
  return randomPair(random, shape)
}

describe('the steps of a plan', () => {
  test('are priced one for one, with their bytes and what they wait for', () => {
    for (let seed = 0; seed < 300; seed++) {
      const random = randomStream(seed, 'steps')
      const pair = anyPair(random, seed)
      const plan = anyPlan(random, pair)
      const program = compileProgram(pair, plan, { promptTokens: PROMPT, loadBytes: 0, decisionSeconds: 0 })
      const lowered = lowerPlan(pair.model, plan)
      const expectPriced = (pass: LoweredPass, list: StageList, rows: number): void => {
        const steps = pricedSteps(pass)
        expect(stagesOf(list)).toEqual(steps.map((step) => priced(pair, step, rows)))
        const before = (step: RunStep | SendStep) =>
          step.after.map((index) => {
            const earlier = pass.steps[index]
            return steps.indexOf(
              (earlier.kind === 'sample' ? pass.steps[earlier.after[0]] : earlier) as RunStep,
            )
          })
        expect(list.stages.map(({ after }) => after)).toEqual(steps.map(before))
      }
      expectPriced(lowered.prefill, program.prefill, PROMPT)
      expectPriced(lowered.decode, program.cycles[0], 1)
      expect(program.cycles.length > 1).toBe(lowered.ask !== null && program.askShare > 0)
      if (program.cycles.length > 1) expectPriced(lowered.ask!, program.cycles[1], 1)
    }
  })

  test('of the prompt cost every part that they run: also the head that a collaborative exit never samples', () => {
    for (let seed = 0; seed < 200; seed++) {
      const random = randomStream(seed, 'parts')
      const pair = anyPair(random, seed)
      const plan = anyPlan(random, pair)
      const { prefill } = compileProgram(pair, plan, {
        promptTokens: PROMPT,
        loadBytes: 0,
        decisionSeconds: 0,
      })
      const pass = lowerPlan(pair.model, plan).prefill
      const { steps } = pass
      const { dispatch, wake } = callCosts(pair)
      pricedSteps(pass).forEach((step, i) => {
        if (step.kind !== 'run') return
        const waits = step.after.length === 0 || step.after.some((before) => steps[before].kind === 'send')
        const call = dispatch[step.side] + (waits ? wake[step.side] : 0)
        const parts = promptSeconds(step.side === EDGE ? pair.edge : pair.cloud, step.subgraph, PROMPT)
        expect(prefill.stages[i].seconds, `seed ${seed}, step ${i}`).toBeCloseTo(call + parts, 12)
      })
    }
  })

  test('cost the same whichever units of a layer lie in the cloud', () => {
    const shape = ({ prefill, decode }: LoweredPlan) =>
      [prefill, decode].map((pass) =>
        pass.steps.map((step) =>
          step.kind === 'run'
            ? step.subgraph.parts.map((part) => (part.kind === 'attention' ? part.units.length : part.kind))
            : step,
        ),
      )
    for (let seed = 0; seed < 100; seed++) {
      const random = randomStream(seed, 'units')
      const { model } = anyPair(random, seed)
      const { plan, cloudUnits } = randomPlan(random, model)
      expect(shape(lowerPlan(model, plan))).toEqual(shape(lowerPlan(model, plan, cloudUnits)))
    }
  })

  test("are either side's own, and what it sends the other receives", () => {
    for (let seed = 0; seed < 100; seed++) {
      const random = randomStream(seed, 'sides')
      const pair = anyPair(random, seed)
      const { prefill, decode, ask } = lowerPlan(pair.model, anyPlan(random, pair))
      for (const pass of ask === null ? [prefill, decode] : [prefill, decode, ask]) {
        const [edge, cloud] = [sideSteps(pass, EDGE), sideSteps(pass, CLOUD)]
        const sends = (steps: typeof edge) => steps.filter(({ kind }) => kind === 'send')
        const receives = (steps: typeof edge) =>
          steps.flatMap((step) => (step.kind === 'receive' ? [step.message] : []))
        expect(receives(cloud)).toEqual(sends(edge))
        expect(receives(edge)).toEqual(sends(cloud))
        const own = [...edge, ...cloud].filter(({ kind }) => kind !== 'receive')
        expect(new Set(own)).toEqual(new Set(pass.steps))
        expect(own).toHaveLength(pass.steps.length)
      }
    }
  })

  test('of a split are numbered one after the other, as frames of version 1 say', () => {
    const { model } = randomPair(randomStream(1, 'numbers'), { layers: 3, units: 2 })
    for (let seed = 0; seed < 50; seed++) {
      const { plan, cloudUnits } = randomPlan(randomStream(seed, 'numbers'), model)
      const { prefill } = lowerPlan(model, plan, cloudUnits)
      expect(pricedSteps(prefill).map(({ number }) => number)).toEqual(pricedSteps(prefill).map((_, i) => i))
    }
  })

  test('send what belongs to a layer at its width, and what goes to the head at that of the plan', () => {
    const { model } = randomPair(randomStream(1, 'widths'), { layers: 3, units: 2 })
    const { plan, cloudUnits } = cutAt(model, 1, EDGE, EDGE, 32)
    const widths = (layerBits: Uint8Array) =>
      lowerPlan(model, { ...plan, layerBits }, cloudUnits).decode.steps.flatMap((step) =>
        step.kind === 'send' ? [step.bits] : [],
      )
    expect(widths(Uint8Array.of(4, 8, 16))).toEqual([8, 32])
    expect(widths(Uint8Array.of(4, 4, 4))).toEqual([4, 32])
  })

  test('compute every block once, with every unit once', () => {
    for (let seed = 0; seed < 100; seed++) {
      const random = randomStream(seed, 'blocks')
      const { model } = randomPair(random, { layers: 3, units: 4 })
      const { plan, cloudUnits } = randomPlan(random, model)
      const lowered = lowerPlan(model, plan, cloudUnits)
      const parts = [...subgraphsOf(lowered, EDGE), ...subgraphsOf(lowered, CLOUD)].flatMap(
        (subgraph) => subgraph.parts,
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
        expect([['whole'], ['first', 'second']]).toContainEqual(halves.sort((a, b) => (a < b ? -1 : 1)))
      }
    }
  })

  const words = ({ steps }: LoweredPass) =>
    steps.map((step) => {
      if (step.kind === 'send') return step.carries
      const side = step.side === EDGE ? 'edge' : 'cloud'
      return `${side}: ${step.kind === 'run' ? subgraphLabel(step.subgraph) : 'sample'}`
    })

  test('all on one side is one run; a cut is two and a message each way', () => {
    const { model } = randomPair(randomStream(1, 'cuts'), { layers: 4, units: 2 })
    const decode = (cut: number, embed: 0 | 1, head: 0 | 1) => {
      const { plan, cloudUnits } = cutAt(model, cut, embed, head)
      return words(lowerPlan(model, plan, cloudUnits).decode)
    }
    expect(decode(4, EDGE, EDGE)).toEqual(['edge: embed, layers 0-3, head', 'edge: sample'])
    expect(decode(0, CLOUD, CLOUD)).toEqual(['cloud: embed, layers 0-3, head', 'cloud: sample', 'token'])
    expect(decode(1, EDGE, CLOUD)).toEqual([
      'edge: embed, layer 0',
      'x',
      'cloud: layers 1-3, head',
      'cloud: sample',
      'token',
    ])
    expect(decode(2, EDGE, EDGE)).toEqual([
      'edge: embed, layers 0-1',
      'x',
      'cloud: layers 2-3',
      'x',
      'edge: head',
      'edge: sample',
    ])
  })

  test('of an early exit are the layers below it, and for a token that is asked for those above', () => {
    const { model } = randomPair(randomStream(1, 'exits'), { layers: 4, units: 2 })
    const lowered = (mode: 'standalone' | 'collaborative') =>
      lowerPlan(model, exitPlan(4, 2, { layer: 1, threshold: 0.8, mode }, 16))
    const below = 'edge: embed, layer 0, exit'
    expect(words(lowered('standalone').prefill)).toEqual([below, 'edge: sample'])
    expect(lowered('standalone').ask).toBeNull()
    const { prefill, decode, ask } = lowered('collaborative')
    const above = 'cloud: layers 1-3, head'
    expect(words(prefill)).toEqual([below, 'x', above, 'edge: sample'])
    expect(words(decode)).toEqual([below, 'x', 'edge: sample'])
    expect(words(ask!)).toEqual([below, 'x', above, 'cloud: sample', 'token'])
  })

  test('leave the edge exactly where the plan needs the cloud', () => {
    for (let seed = 0; seed < 200; seed++) {
      const random = randomStream(seed, 'need')
      const pair = anyPair(random, seed)
      const plan = anyPlan(random, pair)
      expect(sideSteps(lowerPlan(pair.model, plan).prefill, CLOUD).length > 0).toBe(needsCloud(plan))
    }
  })

  test('are built in one file', () => {
    expect(sourcesThatSay(/class \w*(Pass|Stage|LoweredPlan|Schedule)Builder\b|kind: 'send',/)).toEqual([
      'src/plan/lower.ts',
    ])
  })
})
