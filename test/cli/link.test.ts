import { once } from 'node:events'
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs'
import { connect, createServer } from 'node:net'
import type { AddressInfo } from 'node:net'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { setTimeout as sleep } from 'node:timers/promises'
import { afterEach, describe, expect, it } from 'vitest'
import { systemClock } from '../../src/core/clock.ts'
import { runCli } from '../../src/cli/program.ts'
import { COMMANDS } from '../../src/cli/registry.ts'
import { itShared, sharedPath } from '../shared.ts'
import { recordIo } from './io.ts'

const cellular = 'traces/mahimahi-us-cellular'
const cleanups: (() => Promise<unknown> | void)[] = []
afterEach(async () => {
  for (let last = cleanups.pop(); last !== undefined; last = cleanups.pop()) await last()
})

/** Starts the command and waits for the line that says where it listens. */
async function replay(...args: string[]) {
  const io = recordIo({ clock: systemClock })
  const done = runCli(['link', 'replay', ...args], io, COMMANDS, '0.0.0')
  cleanups.push(async () => {
    io.interrupt()
    await done
    for (const cleanup of io.cleanups) await cleanup()
  })
  const listening = () => /listening on 127\.0\.0\.1:(\d+)/.exec(io.out() + io.err())
  let ended = false
  void done.then(() => (ended = true))
  while (listening() === null && !ended) await sleep(5)
  return { io, done, port: Number(listening()?.[1]) }
}

async function echoServer(): Promise<string> {
  const server = createServer((socket) => void socket.pipe(socket))
  server.listen({ host: '127.0.0.1', port: 0 })
  await once(server, 'listening')
  cleanups.push(() => void server.close())
  return `127.0.0.1:${(server.address() as AddressInfo).port}`
}

async function echo(port: number, text: string): Promise<string> {
  const socket = connect({ host: '127.0.0.1', port })
  socket.end(text)
  let back = ''
  for await (const chunk of socket) back += String(chunk)
  return back
}

describe('edgewise link replay', () => {
  it('reads two columns of numbers once their format is named', async () => {
    const folder = mkdtempSync(join(tmpdir(), 'edgewise-link-'))
    cleanups.push(() => rmSync(folder, { recursive: true, force: true }))
    const up = join(folder, 'up.txt')
    writeFileSync(up, '0.0\t28.8\n1.0\t27.5\n2.0\t30.1\n')
    const line = [
      '--up',
      up,
      '--down-mbps',
      '150',
      '--rtt-ms',
      '2',
      '--listen',
      '127.0.0.1:0',
      '--to',
      '127.0.0.1:9',
    ]
    const unnamed = await replay(...line)
    expect(await unnamed.done).toBe(2)
    expect(unnamed.io.err()).toContain('--format pensieve')
    const { io, port } = await replay(...line, '--format', 'pensieve')
    expect(port, io.err()).toBeGreaterThan(0)
  })

  it('relays over a constant link until Ctrl-C, then sums up', async () => {
    const { io, done, port } = await replay(
      'constant:up=10,down=40,rtt=4',
      '--listen',
      '127.0.0.1:0',
      '--to',
      await echoServer(),
      '--every',
      '0.05',
    )
    expect(await echo(port, 'over the link')).toBe('over the link')
    while (!/ RTT 4\.00 ms; /.test(io.out())) await sleep(5)
    io.interrupt()
    expect(await done).toBe(0)
    expect(io.out()).toMatch(/1 connections\nup {4}13 B; [^]*\ndown {2}13 B; /)
  })

  it('gives one JSON object at the end', async () => {
    const { io, done, port } = await replay(
      'traces/links/lte-driving.yaml',
      '--listen',
      '127.0.0.1:0',
      '--to',
      await echoServer(),
      '--speed',
      '20',
      '--start',
      '3',
      '--json',
    )
    expect(await echo(port, 'x'.repeat(5000))).toHaveLength(5000)
    io.interrupt()
    await done
    expect(JSON.parse(io.out())).toMatchObject({
      speed: 20,
      up: { receivedBytes: 5000, deliveredBytes: 5000 },
      down: { deliveredBytes: 5000 },
      connections: { total: 1, refused: 0 },
    })
    expect(JSON.parse(io.out()).linkSeconds).toBeGreaterThan(3)
    expect(io.err()).toContain('time compressed 20 times')
  })

  itShared('composes recordings, those of one drive on one time axis', [cellular], async () => {
    const drive = sharedPath(`${cellular}/TMobile-UMTS-driving`)
    const { io, port } = await replay(
      '--up',
      `${drive}.up`,
      '--down',
      `${drive}.down`,
      '--rtt-ms',
      '90',
      '--speed',
      '50',
      '--listen',
      '127.0.0.1:0',
      '--to',
      await echoServer(),
    )
    expect(await echo(port, 'drive')).toBe('drive')
    expect(io.out()).toContain('uplink: recorded raw-capacity "TMobile-UMTS-driving"')
    expect(io.out()).toContain('rtt: constant 90 ms')
  })

  it.each([
    [['constant:up=1,down=1,rtt=1', '--to', '10.0.0.1:1'], /--to[^]*loopback[^]*remedy/],
    [['constant:up=1,down=1,rtt=1', '--listen', '0.0.0.0:0', '--to', '127.0.0.1:1'], /--listen[^]*loopback/],
    [['constant:up=1,up=2', '--to', '127.0.0.1:1'], /constant:up=<Mbit/],
    [['constant:', '--to', '127.0.0.1:1'], /constant:up=<Mbit/],
    [['absent.up', '--rtt-ms', '1', '--to', '127.0.0.1:1'], /absent\.up[^]*ENOENT/],
    [
      ['--up-mbps', '1', '--rtt-ms', '1', '--to', '127.0.0.1:1'],
      /downlink[^]*--down <recording> or --down-mbps/,
    ],
  ])('refuses %j with one clear error', async (args, message) => {
    const listen = args.includes('--listen') ? [] : ['--listen', '127.0.0.1:0']
    const { io, done } = await replay(...args, ...listen)
    expect(await done).toBe(2)
    expect(io.err()).toMatch(message)
  })
})
