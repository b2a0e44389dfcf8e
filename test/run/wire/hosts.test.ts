import { describe, expect, it } from 'vitest'
import { systemClock } from '../../../src/core/clock.ts'
import { isLoopback } from '../../../src/core/hosts.ts'
import { connect } from '../../../src/run/wire/client.ts'
import { listen } from '../../../src/run/wire/server.ts'
import { safeAddress } from '../../../src/run/wire/hosts.ts'

describe('loopback', () => {
  it.each([
    ['127.0.0.1', true],
    ['127.255.3.4', true],
    ['::1', true],
    ['::ffff:127.0.0.1', true],
    ['0.0.0.0', false],
    ['::', false],
    ['10.0.0.1', false],
    ['128.0.0.1', false],
    ['::2', false],
    ['fe80::1', false],
    ['::ffff:10.0.0.1', false],
    ['localhost', false],
    ['', false],
  ])('%s: %s', (address, expected) => {
    expect(isLoopback(address)).toBe(expected)
  })

  it('is what localhost is', async () => {
    expect(['127.0.0.1', '::1']).toContain(await safeAddress('localhost', 'test'))
  })

  it('has to be every address of a name', async () => {
    const resolve = (): Promise<string[]> => Promise.resolve(['127.0.0.1', '192.0.2.7'])
    await expect(safeAddress('two.test', 'x', { resolve })).rejects.toThrow('two.test, which is 192.0.2.7')
    expect(await safeAddress('two.test', 'x', { resolve, insecureNetwork: true })).toBe('127.0.0.1')
  })

  it.each([
    ['', () => Promise.resolve(['127.0.0.1'])],
    ['none.test', () => Promise.resolve([])],
    ['fails.test', () => Promise.reject(new Error('ENOTFOUND'))],
  ])('is not what %j is', async (host, resolve) => {
    await expect(safeAddress(host, 'x', { resolve })).rejects.toMatchObject({ code: 'E_INPUT' })
  })

  it.each(['0.0.0.0', '192.0.2.1', '::'])('is the only place to listen and connect: not %s', async (host) => {
    const base = { host, port: 0, clock: systemClock }
    const remedy = 'remedy: make keys with `edgewise keys` and name their folder with `--tls <folder>`'
    const greet = (): { welcome: unknown } => ({ welcome: {} })
    await expect(listen({ ...base, greet, onConnection: () => {} })).rejects.toThrow(remedy)
    await expect(connect({ ...base, greeting: {} })).rejects.toThrow(remedy)
  })

  it('may be left on a closed test network', async () => {
    const base = { host: '0.0.0.0', port: 0, clock: systemClock, insecureNetwork: true }
    const server = await listen({ ...base, greet: () => ({ welcome: {} }), onConnection: () => {} })
    expect(server.address).toBe('0.0.0.0')
    const client = await connect({ ...base, host: '127.0.0.1', port: server.port, greeting: {} })
    await client.close()
    await server.close()
  })
})
