import { describe, expect, it } from 'vitest'
import { randomStream, type RandomStream } from '../../src/core/random.ts'
import type { Engine, Resident } from '../../src/core/engine/types.ts'
import { loadModel } from '../../src/model/catalog.ts'
import { subgraphBlocks } from '../../src/model/graphs/subgraphBlocks.ts'
import type { WeightBlock } from '../../src/model/graphs/blocks.ts'
import { dtypes, sizeOf } from '../../src/core/onnx/tensor.ts'
import type { WeightSource } from '../../src/model/graphs/source.ts'
import { attentionUnits, type ModelSpec } from '../../src/model/spec.ts'
import { layerEdges, problemOf } from '../../src/plan/oracle/paths.ts'
import { AttentionTimes, layerTables } from '../../src/plan/oracle/tables.ts'
import { lowerPlan, subgraphsOf } from '../../src/plan/lower.ts'
import { CLOUD, EDGE, exitPlan, uniformPlan, type Plan, type Side } from '../../src/plan/plan.ts'
import {
  cloudKvBytesPerToken,
  cloudWeightBytes,
  edgeBytes,
  edgeMemory,
  partBytes,
  runtimeMemoryTerms,
  wholeModelBytes,
} from '../../src/plan/price/memory.ts'
import { createPair, pairUnits, type DevicePair } from '../../src/plan/price/pair.ts'
import { optionsIn, oracleInput, type DecisionProblem } from '../../src/plan/price/problem.ts'
import { Residency } from '../../src/plan/price/residency.ts'
import type { Situation } from '../../src/plan/price/situation.ts'
import { accuracyTable } from '../../src/plan/profile/accuracy.ts'
import { BlockCosts } from '../../src/plan/profile/costs.ts'
import { datasheetProfile } from '../../src/plan/profile/datasheet.ts'
import type { Profile } from '../../src/plan/profile/types.ts'
import { BYTES_PER_WEIGHT, type Precision, type RuntimePrecision } from '../../src/model/precision.ts'
import { PlanDecoder, ROW_FEATURE_SIZE, layerChoice } from '../../src/policy/action/planDecoder.ts'
import { RequestKvCache } from '../../src/run/executor/kvCache.ts'
import { EdgeMemory } from '../../src/sim/memory.ts'
import { randomSituation } from '../../src/policy/parity/samples.ts'
import { anyPlan } from './anyPlan.ts'
import { randomPair } from './randomPair.ts'
import { randomProblem } from './randomProblem.ts'

const PRECISIONS: readonly Precision[] = ['fp32', 'fp16', 'int8', 'int4']

/** Any split, masks or not. */
function randomSplit(random: RandomStream, { layers, kvHeads }: ModelSpec): Plan {
  const side = (): Side => (random.uniform() < 0.5 ? EDGE : CLOUD)
  return {
    embed: side(),
    unitsOnCloud: new Uint8Array(layers).map(() => random.integer(kvHeads + 1)),
    ffn: new Uint8Array(layers).map(() => random.integer(3)),
    head: side(),
    boundaryBits: 32,
    exit: null,
  }
}

function randomEdge(random: RandomStream): DecisionProblem {
  const shape = { layers: 1 + random.integer(5), units: 1 + random.integer(4) }
  const problem = randomProblem(random, shape, 'mean')
  const pair: DevicePair = {
    ...problem.pair,
    edgePrecision: PRECISIONS[random.integer(4)],
    kvBytesPerElement: random.uniform() < 0.5 ? 4 : 2,
  }
  return { ...problem, pair }
}

describe('the whole model', () => {
  it('of GPT-2 in fp32 takes 497.3 MB: the head is the embedding', () => {
    const embedding = 50_257 * 768 + 1024 * 768
    const layer = 4 * 768 * 768 + 2 * 768 * 3072
    const bytes = wholeModelBytes(runtimeMemoryTerms(loadModel('gpt2'), 'fp32'))
    expect(bytes).toBe(4 * (embedding + 12 * layer))
    expect((bytes / 1e6).toFixed(1)).toBe('497.3')
  })

  it('of tales in fp32 fits 3.28 MB', () => {
    expect(wholeModelBytes(runtimeMemoryTerms(loadModel('tales'), 'fp32'))).toBe(3_268_608)
  })

  it.each<RuntimePrecision>(['fp32', 'int8', 'int4'])(
    'takes what the matrices of its graphs take in %s',
    (p) => {
      for (const id of ['tiny', 'tales']) {
        const model = loadModel(id)
        const blocks = subgraphBlocks({ model } as WeightSource, p)
        const units = Array.from({ length: attentionUnits(model) }, (_, unit) => unit)
        const layers = Array.from({ length: model.layers }, (_, layer) => [
          blocks.attention(layer, units),
          blocks.ffnFirst(layer),
          blocks.ffnSecond(layer),
        ])
        const stored = [blocks.embedding(), ...layers.flat(), blocks.head()].reduce(
          (sum, block) => sum + matrixBytes(block),
          0,
        )
        expect(wholeModelBytes(runtimeMemoryTerms(model, p)), id).toBe(stored)
      }
    },
  )
})

/** Bytes of all but vectors: norms, biases, and scales of int8 columns. */
function matrixBytes({ tensors }: WeightBlock): number {
  return Object.values(tensors)
    .filter(({ dims }) => dims.length > 1)
    .reduce((sum, { dtype, dims }) => sum + sizeOf(dims) * dtypes[dtype].bytes, 0)
}

describe('K/V', () => {
  it('is what the runtime allocates for the same plan and tokens', async () => {
    const random = randomStream(4, 'test/plan/memory/kv')
    for (let i = 0; i < 20; i++) {
      const { pair } = randomEdge(random)
      const { model } = pair
      const terms = runtimeMemoryTerms(model, pair.edgePrecision)
      const plan = randomSplit(random, model)
      const tokens = 1 + random.integer(model.contextTokens)
      let allocated = 0
      const engine = { allocate: (dims) => Promise.resolve(resident(dims)) } as Pick<Engine, 'allocate'>
      const resident = (dims: Resident['dims']): Resident => {
        let bytes = 0
        const hold = (capacity: number): Promise<void> => {
          allocated -= bytes
          bytes = Float32Array.BYTES_PER_ELEMENT * dims[0] * capacity * dims[2]
          allocated += bytes
          return Promise.resolve()
        }
        void hold(dims[1])
        return { dims, grow: hold } as Resident
      }
      const caches = new RequestKvCache(engine as Engine, model, tokens)
      for (const held of [1, Math.ceil(tokens / 2), tokens]) {
        for (let layer = 0; layer < model.layers; layer++) {
          const count = attentionUnits(model) - plan.unitsOnCloud[layer]
          const units = Array.from({ length: count }, (_, unit) => unit)
          const parts = [{ kind: 'attention', layer, units, residual: true }] as const
          await caches.reserve({ input: 'x', parts }, held)
        }
      }
      expect(allocated).toBe(edgeMemory(terms, plan).kvBytesPerToken * tokens)
    }
  })

  it('of a profile measured by the runtime is float32 at every precision of the weights', () => {
    const model = loadModel('tiny')
    const costs = new BlockCosts(datasheetProfile('a100', model))
    const { kvCache: _, ...measured } = datasheetProfile('a100', model, { precision: 'int8' })
    const edge: Profile = { ...measured, runtime: { name: 'onnxruntime-node', version: '1.30.0' } }
    const pair = createPair(new BlockCosts(edge), costs, accuracyTable(model))
    expect(pair.kvBytesPerElement).toBe(4)
    expect(edgeMemory(pair, uniformPlan(4, 4, EDGE)).kvBytesPerToken).toBe(4 * 4 * 2 * 16 * 4)
  })

  it('of a data sheet is what its profile says, and of an older one what it said then', () => {
    const model = loadModel('tiny')
    const profile = datasheetProfile('a100', model)
    expect(profile.kvCache?.bytesPerElement).toMatchObject({ value: 2, provenance: { kind: 'modelled' } })
    const { kvCache: _, ...older } = profile
    for (const edge of [profile, older]) {
      const costs = new BlockCosts(edge)
      expect(createPair(costs, costs, accuracyTable(model)).kvBytesPerElement).toBe(2)
    }
  })
})

describe('early exits', () => {
  it('have a head of their own: it is never the embedding', () => {
    const terms = runtimeMemoryTerms(loadModel('tales'), 'fp32')
    for (const mode of ['standalone', 'collaborative'] as const) {
      const plan = exitPlan(8, 3, { layer: 2, threshold: 0.8, mode }, 32)
      expect(edgeMemory(terms, plan).weightBytes).toBe(4 * (64 * 96 + 2 * (27_648 + 73_728) + 64 * 96))
    }
  })
})

/** Bytes of the parts that a side runs under a plan, and of their K/V a token. */
function bytesOfParts({ model, ...terms }: DevicePair, plan: Plan, side: Side) {
  const parts = partBytes({ model, ...terms })
  const run = subgraphsOf(lowerPlan(model, plan), side).flatMap((subgraph) => subgraph.parts)
  const hasEmbed = run.some(({ kind }) => kind === 'embed')
  let units = 0
  let weightBytes = 0
  for (const part of run) {
    if (part.kind === 'attention') units += part.units.length
    else if (part.kind === 'ffn') {
      weightBytes +=
        (part.part === 'second' ? 0 : parts.ffnFirst) + (part.part === 'first' ? 0 : parts.ffnSecond)
    } else if (part.kind === 'embed') weightBytes += parts.embed
    else if (part.kind === 'exit' || !hasEmbed || !parts.headIsEmbedding) weightBytes += parts.head
  }
  return { weightBytes: weightBytes + units * parts.unit, kvBytesPerToken: units * parts.kvPerUnitToken }
}

describe('everyone who counts', () => {
  it('counts the parts that the lowered plan runs, on either side', () => {
    for (let seed = 0; seed < 200; seed++) {
      const random = randomStream(seed, 'test/plan/memory/lowered')
      const shape = { layers: 2 + random.integer(4), units: 1 + random.integer(4) }
      const pair = { ...randomPair(random, shape), edgePrecision: PRECISIONS[random.integer(4)] }
      const plan = anyPlan(random, pair)
      expect(edgeMemory(pair, plan), `seed ${seed}`).toEqual(bytesOfParts(pair, plan, EDGE))
      const cloud = bytesOfParts(pair, plan, CLOUD)
      expect(cloudWeightBytes(pair, plan)).toBe(cloud.weightBytes)
      expect(cloudKvBytesPerToken(pair.model, plan)).toBe(cloud.kvBytesPerToken)
    }
  })

  it('gets the same bytes for any plan: oracle, decoder, residency and simulator', () => {
    for (let seed = 0; seed < 60; seed++) {
      const random = randomStream(seed, 'test/plan/memory')
      const problem = randomEdge(random)
      const { pair } = problem
      const service = { memoryBytes: 1e12, maxNewTokens: 40 }
      const situation = randomSituation(problem, service, random)
      const connected = { ...situation, replanning: false, sinceHeartbeatSeconds: 0 }
      const plan = randomSplit(random, pair.model)
      const bytes = edgeBytes(pair, plan, situation.reservedTokens)
      const { weightBytes, kvBytesPerToken } = edgeMemory(pair, plan)
      expect(bytes).toBe(weightBytes + kvBytesPerToken * situation.reservedTokens)

      expect(oracleBytes(problem, connected, random), `seed ${seed}, oracle`).toBe(true)
      const tight = { ...connected, freeMemoryBytes: bytes }
      expect(isAllowed(problem, tight, plan), `seed ${seed}, decoder`).toBe(true)
      const short = { ...connected, freeMemoryBytes: bytes - 0.5 }
      expect(bytes === 0 || !isAllowed(problem, short, plan), `seed ${seed}, decoder`).toBe(true)

      // Every part lies on one side: the two make the whole, where no matrix is needed on both.
      const bothEnds =
        pair.model.tiedHead && plan.embed !== plan.head && !['int8', 'int4'].includes(pair.edgePrecision)
      const shared = bothEnds
        ? pair.model.vocabulary * pair.model.width * BYTES_PER_WEIGHT[pair.edgePrecision]
        : 0
      expect(weightBytes + cloudWeightBytes(pair, plan)).toBe(wholeModelBytes(pair) + shared)

      const residency = new Residency(pair)
      expect(residency.missingBytes(plan)).toBe(weightBytes)
      residency.load(plan, [], Infinity)
      expect(residency.residentBytes()).toBe(weightBytes)
      const memory = new EdgeMemory(problem, 2 * bytes, 4, false)
      expect(memory.take(0, plan, situation.reservedTokens)).toBe(weightBytes)
      const whole = uniformPlan(pair.model.layers, pairUnits(pair), EDGE)
      if (edgeBytes(pair, whole, 1) > 2 * bytes - kvBytesPerToken * situation.reservedTokens) {
        expect(memory.freeBytes(1)).toBe(2 * bytes - bytes)
      }
      expect(new Residency(pair).wholeBytes()).toBe(edgeMemory(pair, whole).weightBytes)
    }
  })
})

/** Whether a random path through the oracle's choices has the bytes of its plan. */
function oracleBytes(problem: DecisionProblem, situation: Situation, random: RandomStream): boolean {
  const input = { ...oracleInput(problem, situation), options: optionsIn(problem, situation) }
  const { pair, state } = input
  const layers = layerEdges(input, layerTables(pair, state, 32, new AttentionTimes(pair, state)), 32)
  const [embed, head] = [random.integer(2) as Side, random.integer(2) as Side]
  const path = problemOf(input, 32, layers, embed, head)
  const unitsOnCloud = new Uint8Array(layers.length)
  const ffn = new Uint8Array(layers.length)
  let side: Side = path.startSide
  let { bytes } = path.start
  for (const [layer, choices] of path.layers.entries()) {
    const choice = choices[side][random.integer(choices[side].length)]
    unitsOnCloud[layer] = choice.unitsOnCloud
    ffn[layer] = choice.ffn
    bytes += choice.bytes
    side = choice.next
  }
  bytes += path.end[side].bytes
  const plan: Plan = { embed, unitsOnCloud, ffn, head, boundaryBits: 32, exit: null }
  return Math.abs(bytes - edgeBytes(pair, plan, situation.reservedTokens)) < 1e-6
}

/** Whether the decoder's masks let a plan through, row by row. */
function isAllowed(problem: DecisionProblem, situation: Situation, plan: Plan): boolean {
  const decoder = new PlanDecoder(problem)
  const features = new Float32Array(ROW_FEATURE_SIZE)
  const mask = new Uint8Array(Math.max(decoder.choices.length, 3 * (decoder.units + 1)))
  decoder.begin(situation)
  for (let row = 0; row < decoder.rows; row++) {
    const choice =
      row === 0
        ? decoder.choices.findIndex(
            ({ boundaryBits, embed, head, exit }) =>
              exit === null && boundaryBits === 32 && embed === plan.embed && head === plan.head,
          )
        : layerChoice(plan.unitsOnCloud[row - 1], plan.ffn[row - 1])
    decoder.input(row, features, mask)
    if (mask[choice] === 0) return false
    decoder.choose(row, choice)
  }
  return true
}
