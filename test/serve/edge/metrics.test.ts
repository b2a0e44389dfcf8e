import { Registry } from 'prom-client'
import { expect, test } from 'vitest'
import { serviceMetrics } from '../../../src/serve/edge/metrics.ts'

test('what was not measured is absent, and not 0', async () => {
  const registry = new Registry()
  let rttSeconds: number | null = null
  serviceMetrics(registry, {
    queue: () => ({ waiting: 0, inFlight: 2 }),
    ...{ linkUp: () => null, rttSeconds: () => rttSeconds, keptBytes: () => 0 },
    ...{ residentBytes: () => 7, dropped: () => 0 },
  })
  const value = async (name: string): Promise<string | undefined> =>
    new RegExp(`^${name} (.*)$`, 'm').exec(await registry.metrics())?.[1]
  expect(await value('edgewise_link_up')).toBeUndefined()
  expect(await value('edgewise_link_rtt_seconds')).toBeUndefined()
  expect(await value('edgewise_queue_in_flight')).toBe('2')
  rttSeconds = 0.02
  expect(await value('edgewise_link_rtt_seconds')).toBe('0.02')
  rttSeconds = null
  expect(await value('edgewise_link_rtt_seconds')).toBeUndefined()
})
