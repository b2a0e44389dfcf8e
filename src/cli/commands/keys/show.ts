import { describeKeys } from '../../../core/trust/show.ts'
import type { KeyReport, ShownCertificate } from '../../../core/trust/show.ts'
import type { CliCommand } from '../../command.ts'
import { addExamples, addJson } from '../../command.ts'
import type { Io } from '../../io.ts'
import { printJson, printLine } from '../../io.ts'
import { keysJson } from '../../json/keys.ts'

interface Options {
  readonly json?: boolean
}

export const keysShow: CliCommand<Options> = {
  name: 'show',
  summary: 'what a folder or file of keys holds, and for how long',
  configure(command) {
    command.argument('<path>', 'a folder that `edgewise keys` made, or a PEM file')
    addJson(command)
    addExamples(command, [
      ['An authority, and what it issued', 'keys show keys'],
      ['For a monitor', 'keys show cloud-keys --json'],
    ])
  },
  async run(options, io, [path]) {
    const report = await describeKeys(path, io.clock)
    if (options.json === true) printJson(io, keysJson(report))
    else print(report, io)
  },
}

function print(report: KeyReport, io: Io): void {
  for (const certificate of report.certificates) {
    printLine(
      io,
      `${certificate.file}: ${certificate.role} ${certificate.name}, ${validityWords(certificate)}`,
    )
    if (certificate.hosts.length > 0) printLine(io, `  for ${certificate.hosts.join(', ')}`)
    printLine(io, `  SHA-256 ${certificate.fingerprint}, serial ${certificate.serial}`)
  }
  for (const { file, keyId } of report.signingKeys) printLine(io, `${file}: signing key ${keyId}`)
  if (report.issued === null) return
  printLine(io, report.issued.length === 0 ? 'nothing issued yet' : 'issued:')
  for (const { name, serial, notAfter, revokedAt } of report.issued) {
    const state =
      revokedAt === null ? `until ${notAfter.slice(0, 10)}` : `revoked on ${revokedAt.slice(0, 10)}`
    printLine(io, `  ${name}, ${state}, serial ${serial}`)
  }
}

function validityWords({ daysLeft, notAfter, revoked }: ShownCertificate): string {
  if (revoked === true) return 'REVOKED'
  const day = notAfter.slice(0, 10)
  return daysLeft < 0 ? `EXPIRED on ${day}` : `until ${day} (${daysLeft} days left)`
}
