import { describe, expect, it } from 'vitest'
import { randomStream } from '../../src/core/random.ts'
import { accuracyTable } from '../../src/plan/profile/accuracy.ts'
import { BlockCosts } from '../../src/plan/profile/costs.ts'
import { PROFILE_SCHEMA, type Figure, type Profile, type Provenance } from '../../src/plan/profile/types.ts'
import type { ModelSpec } from '../../src/model/spec.ts'
import { createPair, pairUnits } from '../../src/plan/price/pair.ts'
import { CLOUD, EDGE, cutPlan, exitPlan, uniformPlan, needsCloud } from '../../src/plan/plan.ts'
import { cheapestKvRebuild, goOnProgram, kvRebuildSeconds } from '../../src/plan/price/rebuild.ts'
import type { KvRebuildInput } from '../../src/plan/price/rebuild.ts'
import { latencySeconds } from '../../src/plan/price/network.ts'
import { askedOfCloud, RESOURCE, stageSeconds } from '../../src/plan/price/program.ts'
import { compileProgram } from '../../src/plan/price/compile.ts'
import { evaluateProgram } from '../../src/plan/price/evaluate.ts'
import { DEFAULT_OBJECTIVE } from '../../src/plan/price/objective.ts'
import { anyPlan } from './anyPlan.ts'
import { randomPair } from './randomPair.ts'

const model: ModelSpec = {
  id: 'by-hand',
  family: 'gpt2',
  layers: 4,
  width: 100,
  heads: 2,
  kvHeads: 2,
  headDim: 50,
  ffnWidth: 400,
  vocabulary: 1000,
  contextTokens: 101,
  tiedHead: false,
} as const
const provenance: Provenance = { kind: 'assumed', source: 'by hand' }
const figure = (value: number): Figure => ({ value, provenance })

/** Times are linear in tokens, flat in context: attention a, FFN f a token; embedding free; head h; dispatch d; wake w. */
function profile(a: number, f: number, h: number, d: number, w: number): Profile {
  const curve = (perToken: number) => ({
    knots: [1, 101],
    seconds: [perToken, 101 * perToken],
    provenance,
  })
  const surface = (at: readonly number[]) => ({ knots: [1, 101], units: [2], seconds: [...at], provenance })
  return {
    schema: PROFILE_SCHEMA,
    device: { id: 'by-hand', description: 'by hand', threads: 1, memoryBytes: 1e12 },
    runtime: { name: 'none', version: '0' },
    precision: 'fp32',
    model,
    blocks: {
      embed: curve(0),
      attention: { prefill: surface([a, 101 * a]), decode: surface([a, a]) },
      ffn: { whole: curve(f), first: curve(f / 2), second: curve(f / 2) },
      head: figure(h),
    },
    dispatchSeconds: figure(d),
    wakeSeconds: figure(w),
    loadBytesPerSecond: figure(1e6),
    load: { segmentSeconds: figure(0.5) },
    power: {
      busyWatts: figure(5),
      idleWatts: figure(1),
      radioJoulesPerByte: figure(0),
      radioJoulesPerMessage: figure(0),
    },
    batch: { sizes: [1, 8], factors: [1, 2], provenance },
    decisionSeconds: figure(0),
  }
}

const network = {
  frameBytes: 32,
  messageSeconds: 0.001,
  windowBytes: 14_600,
  beyondWindowRtts: 0.5,
  coldRtts: 3,
  coldAfterSeconds: 30,
}
const pair = createPair(
  new BlockCosts(profile(0.01, 0.02, 0.005, 0.002, 0.003)),
  new BlockCosts(profile(0.001, 0.002, 0.0005, 0.0002, 0.0003)),
  accuracyTable(model),
  network,
)
const cut1 = cutPlan(4, 2, 1, 32, EDGE, CLOUD)
const edge = uniformPlan(4, 2, EDGE)
const cloud = uniformPlan(4, 2, CLOUD)
const input: KvRebuildInput = {
  pair,
  from: cut1,
  to: cut1,
  promptTokens: 10,
  deliveredTokens: 3,
  // 1 byte takes 1 us up.
  link: { upBitsPerSecond: 8e6, downBitsPerSecond: 8e6, rttSeconds: 0.1 },
  edgeSlowdown: 1,
  cloudSlowdown: 1,
  loadBytes: 0,
}
/** Half an RTT and handling; none of these messages is past the window. */
const LATENCY = 0.051
/** A hidden state of one token at 32 bits. */
const ROW = 400

/** All messages of a pass, one after the other, then all that the cloud runs in it. */
function twoServersSeconds({ pair: small, to, promptTokens, deliveredTokens, link }: KvRebuildInput): number {
  const program = compileProgram(small, to, { promptTokens, loadBytes: 0, decisionSeconds: 0 })
  let [sent, arrived, done] = [0, 0, 0]
  for (let token = 1; token <= deliveredTokens; token++) {
    const asked = askedOfCloud(program.askShare, token) ? program.cycles.length - 1 : 0
    let work = 0
    for (const stage of token === 1 ? program.prefill.stages : program.cycles[asked].stages) {
      if (stage.resource === RESOURCE.cloud) work += stageSeconds(program, stage, promptTokens + token - 1)
      if (stage.resource !== RESOURCE.up) continue
      sent += (8 * stage.bytes) / link.upBitsPerSecond
      arrived = Math.max(arrived, sent + latencySeconds(small.network, stage.bytes, link.rttSeconds, false))
    }
    done = Math.max(done, arrived) + work
  }
  return done
}

describe('a rebuild, worked out by hand', () => {
  it('from ids is a prefill of all tokens under the new plan', () => {
    // 13 tokens through 4 layers of 0.03 s a token, one call after a pause, one head.
    const alone = 0.005 + 13 * 4 * 0.03 + 0.005
    expect(kvRebuildSeconds({ ...input, to: edge }, 'ids')).toBeCloseTo(alone, 12)
    // Ids up: 4 bytes each and a frame; a token id down.
    const up = (4 * 13 + 32) * 1e-6 + LATENCY
    const down = 36e-6 + LATENCY
    const there = 0.0005 + 13 * 4 * 0.003 + 0.0005
    expect(kvRebuildSeconds({ ...input, to: cloud }, 'ids')).toBeCloseTo(up + there + down, 12)
  })

  it('counts sessions that have to be loaded first', () => {
    const loaded = kvRebuildSeconds({ ...input, to: edge, loadBytes: 2e6 }, 'ids')
    expect(loaded! - kvRebuildSeconds({ ...input, to: edge }, 'ids')!).toBeCloseTo(0.5 + 2, 12)
    const kept = kvRebuildSeconds({ ...input, to: edge, loadBytes: 2e6 }, 'boundary')
    expect(kept! - kvRebuildSeconds({ ...input, to: edge }, 'boundary')!).toBeCloseTo(0.5 + 2, 12)
  })

  it('from the boundary is one chunk of the layers above the cut, then the last position', () => {
    // Layers 1..3 over 12 rows, without a head, as the edge runs them; then one token through all four.
    const chunk = 0.005 + 3 * 12 * 0.03
    const next = 0.002 + 4 * 0.03 + 0.005
    expect(kvRebuildSeconds({ ...input, to: edge }, 'boundary')).toBeCloseTo(chunk + next, 12)
    const slow = { ...input, to: edge, edgeSlowdown: 3 }
    expect(kvRebuildSeconds(slow, 'boundary')).toBeCloseTo(3 * (chunk + next), 12)
  })

  it('by replay: what was kept goes up at once, the cloud runs each pass again', () => {
    const bytes = [10 * ROW + 32, ROW + 32, ROW + 32]
    const work = [0.0005 + 10 * 3 * 0.003 + 0.0005, 0.0005 + 3 * 0.003 + 0.0005]
    // The prompt's tensor is there after its bytes and latency; the others have arrived when the cloud gets to them.
    const run = bytes[0] * 1e-6 + LATENCY + work[0] + 2 * work[1]
    const edgePass = 0.002 + 0.003 + 0.03
    const next = edgePass + bytes[1] * 1e-6 + LATENCY + work[1] + 36e-6 + LATENCY
    expect(kvRebuildSeconds(input, 'replay')).toBeCloseTo(run + next, 12)
    // On a link so thin that the cloud waits for every message.
    const thin = { ...input, link: { ...input.link, upBitsPerSecond: 8e3 } }
    const sent = (bytes[0] + bytes[1] + bytes[2]) * 1e-3
    expect(kvRebuildSeconds(thin, 'replay')).toBeCloseTo(
      sent + LATENCY + work[1] + next + bytes[1] * (1e-3 - 1e-6),
      12,
    )
  })

  it('is not offered where it does not lead there', () => {
    expect(kvRebuildSeconds({ ...input, to: cloud }, 'replay')).toBeNull()
    expect(kvRebuildSeconds({ ...input, from: edge, to: edge }, 'replay')).toBeNull()
    expect(kvRebuildSeconds({ ...input, to: cloud }, 'boundary')).toBeNull()
    expect(kvRebuildSeconds({ ...input, from: cloud, to: edge }, 'boundary')).toBeNull()
    const fresh = { ...input, to: edge, deliveredTokens: 0 }
    expect(kvRebuildSeconds(fresh, 'boundary')).toBeNull()
    expect(kvRebuildSeconds({ ...fresh, to: cut1 }, 'replay')).toBeNull()
    expect(cheapestKvRebuild(fresh)?.way).toBe('ids')
  })

  it('takes no layers again that the edge has: an exit below the cut', () => {
    const exit = { layer: 1, threshold: 0.8, mode: 'standalone' } as const
    const to = exitPlan(4, 2, exit, 32)
    const next = 0.002 + 0.03 + 0.005
    expect(kvRebuildSeconds({ ...input, to }, 'boundary')).toBeCloseTo(next, 12)
    const from = exitPlan(4, 2, { ...exit, mode: 'collaborative' }, 32)
    expect(kvRebuildSeconds({ ...input, from, to }, 'boundary')).toBeCloseTo(next, 12)
  })

  it('fills no cache where the cloud has the lm_head alone: the edge has them all', () => {
    const from = cutPlan(4, 2, 4, 32, EDGE, CLOUD)
    const next = 0.002 + 4 * 0.03 + 0.005
    expect(kvRebuildSeconds({ ...input, from, to: edge }, 'boundary')).toBeCloseTo(next, 12)
    // The head has to be loaded all the same.
    const loaded = { ...input, from, to: edge, loadBytes: 2e6 }
    expect(kvRebuildSeconds(loaded, 'boundary')).toBeCloseTo(0.5 + 2 + next, 12)
  })

  it('by replay takes what two servers in a row take, where the cloud waits for one message a pass; else no more', () => {
    let others = 0
    for (let seed = 0; seed < 200; seed++) {
      const random = randomStream(seed, 'replay')
      const small = randomPair(random, { layers: 2 + random.integer(4), units: 1 + random.integer(3) })
      const { layers } = small.model
      const cut = cutPlan(
        layers,
        pairUnits(small),
        random.integer(layers),
        8,
        EDGE,
        random.integer(2) as 0 | 1,
      )
      const plan = random.integer(3) === 0 ? cut : anyPlan(random, small)
      if (!needsCloud(plan)) continue
      const lost = { ...input, pair: small, from: plan, to: plan, promptTokens: 1 + random.integer(50) }
      const deliveredTokens = 1 + random.integer(20)
      const replay = kvRebuildSeconds({ ...lost, deliveredTokens }, 'replay')!
      const context = lost.promptTokens + deliveredTokens
      const next = evaluateProgram(goOnProgram(small, plan, context), {
        ...lost,
        promptTokens: 0,
        outputTokens: 1,
        objective: DEFAULT_OBJECTIVE,
        readingTokensPerSecond: 1,
      }).ttftSeconds
      const expected = twoServersSeconds({ ...lost, deliveredTokens }) + next
      // A cloud that only waits for one message a pass; another one may begin with the first of several.
      if (plan === cut || plan.exit !== null) expect(replay).toBeCloseTo(expected, 10)
      else {
        expect(replay).toBeLessThanOrEqual(expected + 1e-12)
        others++
      }
    }
    expect(others).toBeGreaterThan(20)
  })

  it('is the cheapest of those that a link allows', () => {
    expect(cheapestKvRebuild({ ...input, to: edge })?.way).toBe('boundary')
    expect(cheapestKvRebuild(input)?.way).toBe('replay')
    const out = { ...input, link: { ...input.link, upBitsPerSecond: 0 } }
    expect(kvRebuildSeconds(out, 'replay')).toBe(Infinity)
    expect(cheapestKvRebuild(out)).toBeNull()
    expect(cheapestKvRebuild({ ...out, to: edge })?.way).toBe('boundary')
  })
})

describe('going on', () => {
  it('is the whole program less its prefill', () => {
    for (let seed = 0; seed < 40; seed++) {
      const random = randomStream(seed, 'go-on')
      const small = randomPair(random, { layers: 3, units: 2 })
      const plan = cutPlan(
        3,
        2,
        random.integer(4),
        16,
        random.integer(2) as 0 | 1,
        random.integer(2) as 0 | 1,
      )
      const terms = {
        pair: small,
        link: input.link,
        objective: DEFAULT_OBJECTIVE,
        readingTokensPerSecond: 10,
      }
      const compiled = compileProgram(small, plan, { promptTokens: 20, loadBytes: 0, decisionSeconds: 0 })
      const seconds = (outputTokens: number) =>
        evaluateProgram(compiled, { ...terms, promptTokens: 20, outputTokens }).e2eSeconds
      // Tokens 6..15 of the request: on top of 25 others.
      const rest = evaluateProgram(goOnProgram(small, plan, 25), {
        ...terms,
        promptTokens: 25,
        outputTokens: 10,
      }).e2eSeconds
      const delivery = plan.head === CLOUD && plan.embed === CLOUD ? 0.5 * 0.1 + 0.001 : 0
      // Where the cloud samples, the next token begins before the last one is delivered.
      expect(Math.abs(rest - (seconds(15) - seconds(5)))).toBeLessThan(delivery + 1e-4 + 1e-9)
      if (!needsCloud(plan)) expect(rest).toBeCloseTo(seconds(15) - seconds(5), 12)
    }
  })
})
