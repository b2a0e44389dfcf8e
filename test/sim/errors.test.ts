import { describe, expect, it } from 'vitest'
import { InputError } from '../../src/core/errors.ts'
import { createFast } from '../../src/sim/fast.ts'
import { createReference } from '../../src/sim/reference.ts'
import type { SimulationFactory, EpisodeInputs } from '../../src/sim/types.ts'
import { constantLink } from '../../src/trace/link.ts'
import { CLOUD, EDGE, list, program, randomCase, stage, UP } from './worlds.ts'

const factories: [string, SimulationFactory][] = [
  ['reference', createReference],
  ['fast', createFast],
]

const { world } = randomCase(1)
const arrival = {
  arrivalSeconds: 1,
  promptTokens: 1,
  outputTokens: 2,
  predictedOutputTokens: 1,
  predictedOutputSd: 1,
}

const badWorlds: [string, Partial<EpisodeInputs>, RegExp][] = [
  ['no slot', { maxInFlight: 0 }, /world\.maxInFlight/],
  ['half a cloud slot', { cloudSlots: 0.5 }, /world\.cloudSlots/],
  ['a short batch curve', { cloudSlots: 3, batchFactors: [1, 1.1] }, /world\.batchFactors/],
  ['an outage without a length', { outageSeconds: 0 }, /outageSeconds/],
  ['a reader who does not read', { readingTokensPerSecond: 0 }, /readingTokensPerSecond/],
  ['arrivals out of order', { arrivals: [arrival, { ...arrival, arrivalSeconds: 0.5 }] }, /arrivals\[1\]/],
  ['an answer of no tokens', { arrivals: [{ ...arrival, outputTokens: 0 }] }, /arrivals\[0\]\.outputTokens/],
  [
    'tenants without a value',
    { tenants: { timeSeconds: new Float64Array(0), value: new Float64Array(0) } },
    /tenants/,
  ],
]

const one = list([stage(EDGE, [], { seconds: 1 })])
const badPrograms: [string, ReturnType<typeof program>, RegExp][] = [
  ['no cycle', program(one, []), /program\.cycles/],
  ['no stage', program({ stages: [], loop: 0, deliver: 0 }, [one]), /program\.prefill\.stages/],
  [
    'a stage after itself',
    program(one, [list([stage(EDGE, [0])])]),
    /program\.cycles\[0\]\.stages\[0\]\.after/,
  ],
  ['a loop outside', program(list([stage(EDGE, [])], 1, 0), [one]), /program\.prefill\.loop/],
  [
    'time running backwards',
    program(list([stage(CLOUD, [], { seconds: -1 })]), [one]),
    /stages\[0\]\.seconds/,
  ],
  ['infinite bytes', program(list([stage(UP, [], { bytes: Infinity })]), [one]), /stages\[0\]\.bytes/],
  ['a curve off its knots', program(list([stage(EDGE, [], { curve: Float64Array.of(1) })]), [one]), /curve/],
]

describe.each(factories)('%s simulator', (_, create) => {
  it.each(badWorlds)('refuses a world with %s', (_name, changes, message) => {
    expect(() => create({ ...world, ...changes })).toThrow(InputError)
    expect(() => create({ ...world, ...changes })).toThrow(message)
  })

  it.each(badPrograms)('refuses a program with %s and takes a good one afterwards', (_name, bad, message) => {
    const simulation = create({ ...world, arrivals: [arrival] })
    expect(simulation.advance()).toBe(0)
    expect(() => simulation.dispatch(bad)).toThrow(InputError)
    expect(() => simulation.dispatch(bad)).toThrow(message)
    expect(simulation.advance()).toBe(0)
    simulation.dispatch(program(one, [one]))
    expect(simulation.advance()).toBe(-1)
    expect(simulation.advance()).toBe(-1)
    expect(simulation.now).toBe(3)
  })

  it('refuses a dispatch that nobody asked for', () => {
    expect(() => create(world).dispatch(program(one, [one]))).toThrow(/advance\(\)/)
  })

  it('refuses a link over which a transfer never ends', () => {
    const simulation = create({ ...world, arrivals: [arrival], link: constantLink(0, 1e6, 0.01) })
    simulation.advance()
    simulation.dispatch(program(list([stage(UP, [], { bytes: 10 })]), [one]))
    expect(() => simulation.advance()).toThrow(/world\.link \(up\)/)
  })

  it('ends at once in a world without arrivals', () => {
    expect(create({ ...world, arrivals: [] }).advance()).toBe(-1)
  })
})
