import { expect, test } from 'vitest'
import { joulesBetween, raplCounters, thisHost } from '../../../src/plan/measure/host.ts'
import { interpolatedQuantile } from '../../../src/core/quantile.ts'
import { summarise } from '../../../src/plan/measure/timing.ts'

const files: Record<string, string> = {
  '/sys/class/powercap/intel-rapl:0/energy_uj': '5000000\n',
  '/sys/class/powercap/intel-rapl:0/max_energy_range_uj': '262143328850\n',
  '/sys/class/powercap/intel-rapl:1/energy_uj': '7000000\n',
  '/sys/class/powercap/intel-rapl:1/max_energy_range_uj': '262143328850\n',
}
const read = (path: string) => {
  if (!(path in files)) throw new Error('EACCES')
  return files[path]
}

test('energy is that of the packages, not of their parts; nothing readable is null', () => {
  const list = () => ['intel-rapl', 'intel-rapl:0', 'intel-rapl:0:0', 'intel-rapl:1']
  expect(raplCounters(read, list)?.map((counter) => counter.joules)).toEqual([5, 7])
  expect(raplCounters(read, () => [])).toBeNull()
  expect(raplCounters(read, () => ['intel-rapl:7'])).toBeNull()
  expect(
    raplCounters(read, () => {
      throw new Error('ENOENT')
    }),
  ).toBeNull()
})

test('a counter that wrapped still counts forward', () => {
  const at = (joules: number) => [{ joules, rangeJoules: 100 }]
  expect(joulesBetween(at(10), at(25))).toBe(15)
  expect(joulesBetween(at(90), at(5))).toBe(15)
  expect(joulesBetween(null, at(5))).toBeNull()
})

test('median and spread by order statistics', () => {
  expect(interpolatedQuantile([1, 2, 3, 4], 0.5)).toBe(2.5)
  expect(summarise([3, 1, 2, 4, 100])).toEqual({ medianSeconds: 3, relativeSpread: 2 / 3, repeats: 5 })
})

test('this machine describes itself', () => {
  const host = thisHost()
  expect(host.cores).toBeGreaterThan(0)
  expect(host.residentBytes()).toBeGreaterThan(1e6)
  expect(host.description).toMatch(/cores/)
})
