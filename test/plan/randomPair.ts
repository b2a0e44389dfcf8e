import type { RandomStream } from '../../src/core/random.ts'
import { attentionUnits, type ModelSpec } from '../../src/model/spec.ts'
import { createPair, type DevicePair } from '../../src/plan/price/pair.ts'
import { accuracyTable } from '../../src/plan/profile/accuracy.ts'
import { BlockCosts } from '../../src/plan/profile/costs.ts'
import { PROFILE_SCHEMA, type Figure, type Profile, type Provenance } from '../../src/plan/profile/types.ts'

const provenance: Provenance = { kind: 'assumed', source: 'random, for a test' }

export interface RandomShape {
  readonly layers: number
  readonly units: number
  readonly grouped?: boolean
}

/** A small model with random block times on both sides. */
export function randomPair(random: RandomStream, shape: RandomShape): DevicePair {
  const group = shape.grouped === true ? 2 : 1
  const model: ModelSpec = {
    id: 'random',
    family: random.uniform() < 0.5 ? 'gpt2' : 'llama',
    layers: shape.layers,
    width: 64 * (1 + random.integer(8)),
    heads: shape.units * group,
    kvHeads: shape.units,
    headDim: 16,
    ffnWidth: 256,
    vocabulary: 1000,
    contextTokens: 512,
    tiedHead: random.uniform() < 0.5,
  }
  const scale = 10 ** (-5 + 2 * random.uniform())
  const edge = new BlockCosts(randomProfile(random, model, scale))
  const cloud = new BlockCosts(randomProfile(random, model, scale * 10 ** (-1.5 * random.uniform())))
  return createPair(edge, cloud, accuracyTable(model))
}

function randomProfile(random: RandomStream, model: ModelSpec, scale: number): Profile {
  const figure = (value: number): Figure => ({ value, provenance })
  const knots = [1, 100, 512]
  const units = [1, attentionUnits(model)].filter((value, i, all) => all.indexOf(value) === i)
  const rising = (count: number, step: number): number[] => {
    let value = 0
    return Array.from({ length: count }, () => (value += step * (0.1 + random.uniform())))
  }
  const curve = (step: number) => ({ knots, seconds: rising(3, step * scale), provenance })
  const surface = (step: number) => ({
    knots,
    units,
    seconds: rising(3 * units.length, step * scale),
    provenance,
  })
  return {
    schema: PROFILE_SCHEMA,
    device: { id: 'random', description: 'random', threads: 1, memoryBytes: 1e12 },
    runtime: { name: 'none', version: '0' },
    precision: 'fp32',
    model,
    blocks: {
      embed: curve(0.1),
      attention: { prefill: surface(3), decode: surface(1) },
      ffn: { whole: curve(4), first: curve(2), second: curve(2) },
      head: figure(scale * random.uniform()),
    },
    ...(random.uniform() < 0.25 ? {} : { wakeSeconds: figure(2 * scale * random.uniform()) }),
    // Now and then absent, as in files from before there was such a figure.
    ...(random.uniform() < 0.25 ? {} : { dispatchSeconds: figure(2 * scale * random.uniform()) }),
    ...(random.uniform() < 0.25 ? {} : { load: { segmentSeconds: figure(scale * random.uniform()) } }),
    loadBytesPerSecond: figure(1e8),
    power: {
      busyWatts: figure(5 + 10 * random.uniform()),
      idleWatts: figure(2 * random.uniform()),
      radioJoulesPerByte: figure(1e-6 * random.uniform()),
      radioJoulesPerMessage: figure(1e-4 * random.uniform()),
    },
    batch: { sizes: [1, 8], factors: [1, 2], provenance },
    decisionSeconds: figure(0),
  }
}
