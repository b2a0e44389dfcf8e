import { Registry } from 'prom-client'
import { expect, test } from 'vitest'
import type { BudgetUses } from '../../../src/plan/price/budgets.ts'
import { serviceMetrics } from '../../../src/serve/edge/metrics.ts'

test('what was not measured is absent, and not 0', async () => {
  const registry = new Registry()
  let rttSeconds: number | null = null
  let uses: BudgetUses | null = null
  serviceMetrics(registry, {
    queue: () => ({ waiting: 0, inFlight: 2 }),
    linkUp: () => null,
    rttSeconds: () => rttSeconds,
    keptBytes: () => 0,
    residentBytes: () => 7,
    dropped: () => 0,
    budgetUses: () => uses,
  })
  const value = async (name: string): Promise<string | undefined> =>
    new RegExp(`^${name} (.*)$`, 'm').exec(await registry.metrics())?.[1]
  expect(await value('edgewise_link_up')).toBeUndefined()
  expect(await value('edgewise_link_rtt_seconds')).toBeUndefined()
  expect(await value('edgewise_queue_in_flight')).toBe('2')
  expect(await registry.metrics()).not.toMatch(/^edgewise_budget_used_ratio\{/m)
  uses = {
    energyJoules: { used: 6, budget: 5 },
    accuracyLoss: null,
    cloudSeconds: { used: 0.25, budget: 1 },
  }
  const lines = (await registry.metrics()).split('\n')
  expect(lines.filter((line) => line.startsWith('edgewise_budget_used_ratio{'))).toEqual([
    'edgewise_budget_used_ratio{resource="energy"} 1.2',
    'edgewise_budget_used_ratio{resource="cloud"} 0.25',
  ])
  rttSeconds = 0.02
  expect(await value('edgewise_link_rtt_seconds')).toBe('0.02')
  rttSeconds = null
  expect(await value('edgewise_link_rtt_seconds')).toBeUndefined()
})
