import { readFileSync } from 'node:fs'
import { gunzipSync } from 'node:zlib'
import { describe, expect, it } from 'vitest'
import { importTrace } from '../../src/trace/import/detect.ts'
import { itShared, sharedPath } from '../shared.ts'

const load = (...lines: string[]) =>
  importTrace(lines.join('\n'), { where: 'ping.txt', origin: 'test', licence: 'own' })
const reply = (seq: number, ms: number, stamp = '') =>
  `${stamp}64 bytes from 192.0.2.1: icmp_seq=${seq} ttl=55 time=${ms} ms`
const seconds = (trace: { timeSeconds: Float64Array }) => trace.timeSeconds.at(-1)! - trace.timeSeconds[0]
const HEAD = 'PING 192.0.2.1 (192.0.2.1) 56(84) bytes of data.'

describe('ping', () => {
  it('counts on where the 16 bits of its number begin again', () => {
    const trace = load(reply(65_534, 1), reply(65_535, 2), reply(0, 3), reply(2, 4))
    expect([...trace.rttSeconds]).toEqual([0.001, 0.002, 0.003, NaN, 0.004])
    expect([...trace.lossRatio]).toEqual([0, 0, 0, 1, 0])
    expect(seconds(trace)).toBe(5)
  })

  it('takes its clock from stamps, keeps a sleep of the machine as a gap, and several runs apart', () => {
    const at = (time: number) => `[${time.toFixed(6)}] `
    const run = [0, 1, 2].map((i) => reply(i + 1, 20, at(1000 + 0.1 * i + 0.02)))
    const late = reply(4, 30, at(1060.03))
    const trace = load(HEAD, ...run, late, HEAD, reply(1, 40, at(1100.04)), reply(2, 50, at(1100.15)))
    const round = [...trace.timeSeconds].map((time) => Math.round(100 * time) / 100)
    expect(round).toEqual([0, 0.1, 0.2, 0.3, 60, 60.1, 100, 100.1, 100.2])
    expect([...trace.lossRatio]).toEqual([0, 0, 0, NaN, 0, NaN, 0, 0])
  })

  it('reads BusyBox, old Linux and localized Windows, and says when it assumed 1 s', () => {
    const busyBox = load(
      'PING 192.0.2.1 (192.0.2.1): 56 data bytes',
      '64 bytes from 192.0.2.1: seq=0 ttl=64 time=1.5 ms',
      '64 bytes from 192.0.2.1: seq=2 ttl=64 time=2.5 ms',
      '3 packets transmitted, 2 packets received, 33% packet loss',
    )
    expect([...busyBox.lossRatio]).toEqual([0, 1, 0])
    expect(busyBox.meta.notes[0]).toContain('assumed')
    expect(load('icmp_req=1 ttl=64 time=1.5 ms').rttSeconds[0]).toBe(0.0015)
    const german = load(
      'Antwort von 192.0.2.1: Bytes=32 Zeit=14ms TTL=117',
      'Zeitüberschreitung der Anforderung.',
      'Antwort von 192.0.2.1: Bytes=32 Zeit<1ms TTL=117',
      'Ping-Statistik für 192.0.2.1:',
      '    Pakete: Gesendet = 3, Empfangen = 2, Verloren = 1',
    )
    expect([...german.rttSeconds]).toEqual([0.014, NaN, 0.001])
  })

  it('takes a long loss as one row, whatever number the next reply has', () => {
    const trace = load(HEAD, reply(1, 1), reply(900_000_000, 2))
    expect([...trace.lossRatio]).toEqual([0, 1, 0])
    expect(seconds(trace)).toBe(900_000_000)
    const cut = load(reply(5000, 1), 'no answer yet for icmp_seq=5001', reply(5002, 1))
    expect([...cut.lossRatio]).toEqual([0, 1, 0])
  })

  itShared('a day of ping has no loss; -D -i 0.02 lasts 10 s', ['cases/traces'], () => {
    const cases = (name: string) => readFileSync(sharedPath(`cases/traces/${name}`))
    const day = load(gunzipSync(cases('t09-ping-24h-wrapped.txt.gz')).toString())
    expect(day.lossRatio.every((loss) => loss === 0)).toBe(true)
    expect(seconds(day) / 3600).toBeCloseTo(24, 2)
    expect(seconds(load(cases('t10-ping-D-no-summary.txt').toString()))).toBeCloseTo(10, 1)
  })
})
