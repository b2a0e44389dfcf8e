import { describe, expect, test } from 'vitest'
import { randomStream } from '../../src/core/random.ts'
import { edgeJoules, energyPrices, joulesByCause, NO_USE } from '../../src/plan/price/energy.ts'
import { sourcesThatSay } from './sources.ts'

const POWER = { busyWatts: 20, idleWatts: 5, radioJoulesPerByte: 2e-6, radioJoulesPerMessage: 0.006 }
const USE = { edgeSeconds: 2, upBytes: 1e6, downBytes: 5e5, messages: 10 }

describe('edge energy', () => {
  test('is what work and radio add, and idle power for as long as it is asked for', () => {
    expect(edgeJoules(POWER, USE, 0)).toBeCloseTo(30 + 3 + 0.06, 12)
    expect(edgeJoules(POWER, USE, 4)).toBeCloseTo(30 + 3 + 0.06 + 20, 12)
    expect(edgeJoules(POWER, NO_USE, 4)).toBe(20)
  })

  test('is the sum of its causes and of its prices', () => {
    const random = randomStream(1, 'energy')
    for (let i = 0; i < 100; i++) {
      const draw = (most: number): number => most * random.uniform()
      const power = {
        busyWatts: draw(30),
        idleWatts: draw(10),
        radioJoulesPerByte: draw(1e-5),
        radioJoulesPerMessage: draw(0.01),
      }
      const use = { edgeSeconds: draw(5), upBytes: draw(1e7), downBytes: draw(1e7), messages: draw(500) }
      const idleSeconds = draw(60)
      const total = edgeJoules(power, use, idleSeconds)
      const causes = Object.values<number>({ ...joulesByCause(power, use, idleSeconds) })
      expect(causes.reduce((sum, joules) => sum + joules, 0)).toBeCloseTo(total, 9)
      const price = energyPrices(power, 3)
      expect(
        price.idleSecond * idleSeconds +
          price.computeSecond * use.edgeSeconds +
          price.byte * (use.upBytes + use.downBytes) +
          price.message * use.messages,
      ).toBeCloseTo(3 * total, 8)
    }
  })

  test('is computed in one file', () => {
    const figures = /\b(power|this)\.(busyWatts|idleWatts|radioJoulesPer\w+)\b(?!\.)|\bbusyWatts - /
    expect(sourcesThatSay(figures, ['src/plan/profile', 'src/plan/measure', 'src/cli'])).toEqual([
      'src/plan/price/energy.ts',
    ])
  })
})
