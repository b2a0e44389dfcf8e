import { describe, expect, it } from 'vitest'
import { InputError } from '../../../src/core/errors.ts'
import { RpcClient, serveRpc, startChild, type RpcChannel } from '../../../src/lab/calibrate/rpc.ts'

/** Two ends of a channel within one process. */
function channelPair(): [RpcChannel, RpcChannel] {
  const listeners: ((message: unknown) => void)[][] = [[], []]
  const end = (own: number): RpcChannel => ({
    send: (message) => queueMicrotask(() => listeners[1 - own].forEach((listener) => listener(message))),
    onMessage: (listener) => listeners[own].push(listener),
    onClose: () => {},
  })
  return [end(0), end(1)]
}

describe('calls between processes', () => {
  it('return values and errors with their codes', async () => {
    const [near, far] = channelPair()
    const caller = new RpcClient(near, 'other')
    serveRpc(
      {
        add: (a: number, b: number) => Promise.resolve(a + b),
        refuse: () => Promise.reject(new InputError({ where: 'x', expected: 'y', found: 'z' })),
      },
      far,
    )
    await caller.ready
    expect(await caller.call('add', 1, 2)).toBe(3)
    await expect(caller.call('refuse')).rejects.toMatchObject({ code: 'E_INPUT' })
    await expect(caller.call('toString')).rejects.toMatchObject({ code: 'E_INTERNAL' })
  })

  it('end with the process, and so do those that wait', async () => {
    const script = `process.send({ id: -1 })
      process.on('message', ({ id, args }) => args[0] === 'quit' ? process.exit(3) : process.send({ id, value: args[0] }))`
    const child = startChild([process.execPath, '-e', script], 'echo')
    await child.caller.ready
    expect(await child.caller.call('echo', 'hello')).toBe('hello')
    await expect(child.caller.call('echo', 'quit')).rejects.toThrow('the echo process ended: exit code 3')
    await expect(child.caller.call('echo', 'again')).rejects.toMatchObject({ code: 'E_PROCESS' })
    await child.end()
  })

  it('can be ended from outside while they wait', async () => {
    const child = startChild(
      [process.execPath, '-e', 'process.send({ id: -1 }); setInterval(() => {}, 1e6)'],
      'deaf',
    )
    await child.caller.ready
    const call = child.caller.call('anything')
    const refused = expect(call).rejects.toMatchObject({ code: 'E_PROCESS' })
    await child.end()
    await refused
  })

  it('say that a program cannot be started', async () => {
    const child = startChild(['/nonexistent/program'], 'missing')
    await expect(child.caller.ready).rejects.toMatchObject({ code: 'E_PROCESS' })
    await child.end()
  })
})
