import { expect, test } from 'vitest'
import { systemClock } from '../../../src/core/clock.ts'

const loaded = (): boolean => 'getMetadata' in Reflect

test('a device that reads keys and checks signatures loads no certificate library; who makes certificates does', async () => {
  await import('../../../src/policy/controller/edge.ts')
  await import('../../../src/core/trust/material.ts')
  await import('../../../src/cli/edgeRegistry.ts')
  const { createAuthority } = await import('../../../src/core/trust/authority.ts')
  expect(loaded()).toBe(false)
  await createAuthority({ clock: systemClock, validDays: 1 })
  expect(loaded()).toBe(true)
})
