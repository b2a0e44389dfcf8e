import { readdirSync, readFileSync } from 'node:fs'
import { dirname, join, relative, resolve, sep } from 'node:path'
import ts from 'typescript'
import { describe, expect, it } from 'vitest'
import tsdown from '../tsdown.config.ts'
import { DISTRICTS, PACKAGE_OWNERS, PUBLIC_ENTRIES } from './rooms.ts'

/** Where a clock and chance may be read: they are handed on from here. */
const MAY_READ_CLOCK = ['src/core/clock.ts', 'src/cli/']

const root = resolve(import.meta.dirname, '..')

interface Import {
  readonly specifier: string
  readonly typeOnly: boolean
}

function sourceFiles(...folders: string[]): string[] {
  return folders.flatMap((folder) =>
    readdirSync(join(root, folder), { recursive: true, encoding: 'utf8' })
      .filter((file) => file.endsWith('.ts'))
      .map((file) => join(folder, file).split(sep).join('/')),
  )
}

/** The function, computed once for each text, whichever checks ask. */
function once<T>(compute: (text: string) => T): (text: string) => T {
  const known = new Map<string, T>()
  return (text) => {
    const value = known.get(text) ?? compute(text)
    known.set(text, value)
    return value
  }
}

const parse = once((text) => ts.createSourceFile('x.ts', text, ts.ScriptTarget.Latest))

/** Static, dynamic, re-exported and type imports of one source text. */
const importsOf = once((text): Import[] => {
  const found: Import[] = []
  const visit = (node: ts.Node): void => {
    if (
      (ts.isImportDeclaration(node) || ts.isExportDeclaration(node)) &&
      node.moduleSpecifier !== undefined
    ) {
      const typeOnly = ts.isImportDeclaration(node)
        ? node.importClause?.phaseModifier === ts.SyntaxKind.TypeKeyword
        : node.isTypeOnly
      found.push({ specifier: (node.moduleSpecifier as ts.StringLiteral).text, typeOnly })
    } else if (ts.isCallExpression(node) && node.expression.kind === ts.SyntaxKind.ImportKeyword) {
      const argument = node.arguments[0]
      if (ts.isStringLiteralLike(argument)) found.push({ specifier: argument.text, typeOnly: false })
    } else if (ts.isImportTypeNode(node) && ts.isLiteralTypeNode(node.argument)) {
      found.push({ specifier: (node.argument.literal as ts.StringLiteral).text, typeOnly: true })
    }
    ts.forEachChild(node, visit)
  }
  visit(parse(text))
  return found
})

/** District and room of a path, or null. */
function placeOf(path: string): { district: string; room: string } | null {
  const found = Object.entries(DISTRICTS).find(([, { folder }]) => path.startsWith(`${folder}/`))
  if (found === undefined) return null
  const [district, { folder, rooms }] = found
  const parts = path.slice(folder.length + 1).split('/')
  if (rooms === undefined) return { district, room: '.' }
  const room = parts.length > 1 ? parts[0] : '.'
  const isEntry = Object.values(PUBLIC_ENTRIES).includes(path) && room === '.'
  return isEntry || rooms.includes(room) ? { district, room } : null
}

/** What is wrong with one file's imports. */
function importProblems(path: string, text: string): string[] {
  const place = placeOf(path)
  if (place === null) return [`${path}: lies in no room of the table`]
  return importsOf(text).flatMap(({ specifier, typeOnly }) => {
    if (specifier.startsWith('node:')) return []
    if (!specifier.startsWith('.')) return packageProblem(path, specifier, typeOnly)
    const target = relative(root, resolve(root, dirname(path), specifier))
      .split(sep)
      .join('/')
    const other = placeOf(target)
    if (other === null) return [`${path}: imports ${target}, which lies in no room`]
    if (Object.values(PUBLIC_ENTRIES).includes(path)) return []
    if (target.endsWith('/index.ts'))
      return [`${path}: imports the public entry ${target}: import the file itself`]
    return directionProblem(path, place, other)
  })
}

type Place = NonNullable<ReturnType<typeof placeOf>>

function directionProblem(path: string, from: Place, to: Place): string[] {
  const { imports, rooms, purpose } = DISTRICTS[from.district]
  if (from.district !== to.district) {
    if (Object.hasOwn(imports, to.district)) return []
    return [`${path}: ${from.district} may not import ${to.district}; ${from.district}: ${purpose}`]
  }
  if (rooms === undefined || rooms.indexOf(to.room) <= rooms.indexOf(from.room)) return []
  return [
    `${path}: ${from.district}/${from.room} may not import ${from.district}/${to.room}, which lies above it`,
  ]
}

function packageProblem(path: string, specifier: string, typeOnly: boolean): string[] {
  const parts = specifier.split('/')
  const name = specifier.startsWith('@') ? parts.slice(0, 2).join('/') : parts[0]
  const owners = PACKAGE_OWNERS[name]
  if (typeOnly || owners === undefined || owners.some((owner) => path.startsWith(`src/${owner}/`))) return []
  return [`${path}: ${name} belongs to ${owners.join(', ')}`]
}

/** Reads of the clock or of chance in code (not in comments). */
function impureReads(path: string, text: string): string[] {
  if (MAY_READ_CLOCK.some((allowed) => path.startsWith(allowed))) return []
  const found: string[] = []
  const visit = (node: ts.Node): void => {
    if (ts.isPropertyAccessExpression(node) && ts.isIdentifier(node.expression)) {
      const name = `${node.expression.text}.${node.name.text}`
      if (/^(Date\.now|Math\.random|performance\.now|process\.hrtime)$/.test(name))
        found.push(`${path}: ${name}`)
    }
    if (ts.isNewExpression(node) && ts.isIdentifier(node.expression) && node.expression.text === 'Date') {
      if ((node.arguments?.length ?? 0) === 0) found.push(`${path}: new Date()`)
    }
    ts.forEachChild(node, visit)
  }
  visit(parse(text))
  return found
}

/** Threads that are not started from a module of the source, imported with `?thread`, which types and lint check. */
function uncheckedThreads(path: string, text: string): string[] {
  const programs = new Set<string>()
  const found: string[] = []
  const visit = (node: ts.Node): void => {
    if (
      ts.isImportDeclaration(node) &&
      (node.moduleSpecifier as ts.StringLiteral).text.endsWith('.ts?thread')
    )
      programs.add(node.importClause?.name?.text ?? '')
    if (ts.isNewExpression(node) && ts.isIdentifier(node.expression) && node.expression.text === 'Worker') {
      const program = node.arguments?.[0]
      if (program === undefined || !ts.isIdentifier(program) || !programs.has(program.text))
        found.push(`${path}: a thread whose program is no module of the source`)
    }
    ts.forEachChild(node, visit)
  }
  visit(parse(text))
  return found
}

interface Source {
  readonly path: string
  readonly text: string
}

/** How often each identifier stands in a text. */
const identifiersOf = once((text): ReadonlyMap<string, number> => {
  const counts = new Map<string, number>()
  const visit = (node: ts.Node): void => {
    if (ts.isIdentifier(node)) counts.set(node.text, (counts.get(node.text) ?? 0) + 1)
    ts.forEachChild(node, visit)
  }
  visit(parse(text))
  return counts
})

/** Names that a text declares for other files. */
function exportsOf(text: string): string[] {
  return parse(text).statements.flatMap((node) => {
    if (ts.isExportDeclaration(node)) {
      const { exportClause } = node
      if (exportClause === undefined || !ts.isNamedExports(exportClause)) return []
      return exportClause.elements.map(({ name }) => name.text)
    }
    const modifiers = ts.canHaveModifiers(node) ? ts.getModifiers(node) : undefined
    if (modifiers?.some(({ kind }) => kind === ts.SyntaxKind.ExportKeyword) !== true) return []
    if (!ts.isVariableStatement(node))
      return (node as ts.DeclarationStatement).name?.getText(parse(text)) ?? []
    return node.declarationList.declarations.map(({ name }) => name.getText(parse(text)))
  })
}

/**
 * Exports that no other file of the product uses: a file uses an export if it imports the file that has it and writes
 * its name. A part of a file may be exported for a test to look at, if the file itself uses it too.
 */
function idleExports(product: readonly Source[], tests: readonly Source[]): string[] {
  const users = new Map<string, ReadonlyMap<string, number>[]>()
  for (const { path, text } of product) {
    const names = identifiersOf(text)
    for (const { specifier } of importsOf(text)) {
      const file = specifier.replace(/\?.*$/, '')
      const target = file.startsWith('.') ? join(dirname(path), file).split(sep).join('/') : file
      users.set(target, [...(users.get(target) ?? []), names])
    }
  }
  const tested = tests.map(({ text }) => text).join('\n')
  return product.flatMap(({ path, text }) => {
    // Every bench exports `run`, which is loaded by the name of its file.
    if (Object.values(PUBLIC_ENTRIES).includes(path) || path.startsWith('bench/')) return []
    const own = identifiersOf(text)
    return exportsOf(text).flatMap((name) => {
      if (users.get(path)?.some((names) => names.has(name))) return []
      const isTested = new RegExp(`\\b${name}\\b`).test(tested)
      if (!isTested) return [`${path}: ${name} is used by no other file: do not export it`]
      return own.get(name) === 1
        ? [`${path}: ${name} is used by tests alone: delete it, or move it to test/`]
        : []
    })
  })
}

const read = (path: string): Source => ({ path, text: readFileSync(join(root, path), 'utf8') })

const files = sourceFiles('src', 'envs').map(read)

describe('the house', () => {
  it('imports only in the allowed directions', () => {
    expect(files.length).toBeGreaterThan(20)
    expect(files.flatMap(({ path, text }) => importProblems(path, text))).toEqual([])
  })

  it('has no arrow in the table that nothing uses, and no room that is empty', () => {
    const used = new Set<string>()
    const rooms = new Set<string>()
    for (const { path, text } of files) {
      const from = placeOf(path)
      if (from === null) continue
      rooms.add(`${from.district}/${from.room}`)
      for (const { specifier } of importsOf(text)) {
        const to = specifier.startsWith('.')
          ? placeOf(relative(root, resolve(root, dirname(path), specifier)))
          : null
        if (to !== null) used.add(`${from.district} -> ${to.district}`)
      }
    }
    const arrows = Object.entries(DISTRICTS).flatMap(([from, { imports }]) =>
      Object.keys(imports).map((to) => `${from} -> ${to}`),
    )
    expect(arrows.filter((arrow) => !used.has(arrow))).toEqual([])
    const listed = Object.entries(DISTRICTS).flatMap(([district, { rooms = ['.'] }]) =>
      rooms.map((room) => `${district}/${room}`),
    )
    expect(listed.filter((room) => !rooms.has(room))).toEqual([])
  })

  it('has a table whose arrows point down and that has a reason for each', () => {
    const order = Object.keys(DISTRICTS)
    for (const [from, { imports, purpose }] of Object.entries(DISTRICTS)) {
      expect(purpose).not.toBe('')
      for (const [to, reason] of Object.entries(imports)) {
        expect(order.indexOf(to), `${from} -> ${to}`).toBeLessThan(order.indexOf(from))
        expect(order).toContain(to)
        expect(reason).not.toBe('')
      }
    }
  })

  it('opens the public entries of the table and no other', () => {
    const built = tsdown.flatMap(({ entry }) => Object.entries(entry as Record<string, string>))
    const entries = built.filter(([name]) => name.startsWith('api/') || name === 'edge')
    const opened = Object.fromEntries(entries.map(([name, file]) => [name.replace('api/', ''), file]))
    expect(opened).toEqual(PUBLIC_ENTRIES)
  })

  it('reads clock and chance only where they are handed in', () => {
    expect(files.flatMap(({ path, text }) => impureReads(path, text))).toEqual([])
  })

  it('starts threads from modules, not from programs in strings', () => {
    expect(files.filter(({ text }) => text.includes('new Worker(')).length).toBeGreaterThan(1)
    expect(files.flatMap(({ path, text }) => uncheckedThreads(path, text))).toEqual([])
  })
})

describe('what a file exports', () => {
  it('is used by another file that is no test', () => {
    expect(idleExports([...files, ...sourceFiles('bench').map(read)], sourceFiles('test').map(read))).toEqual(
      [],
    )
  })
})

describe('the name of a file', () => {
  it('is in camel case, and repeats that of its folder only where the file exports the name', () => {
    const problems = [...files, ...sourceFiles('bench', 'test').map(read)].flatMap(({ path, text }) => {
      const [folder, name] = path
        .replace(/(\.test|\.config|\.d)?\.ts$/, '')
        .split('/')
        .slice(-2)
      if (!/^[a-z][A-Za-z0-9]*$/.test(name)) return [`${path}: not in camel case`]
      if (!new RegExp(`^${folder}[A-Z]`).test(name) || path.startsWith('test/')) return []
      const isExported = exportsOf(text).some((found) => found.toLowerCase() === name.toLowerCase())
      return isExported ? [] : [`${path}: repeats the name of its folder`]
    })
    expect(problems).toEqual([])
  })
})

describe('the checks themselves', () => {
  it('see every kind of import', () => {
    const text = `import a from './a.ts'\nimport type { B } from './b.ts'\nexport * from './c.ts'\nconst d = await import('./d.ts')\ntype E = import('./e.ts').E`
    expect(importsOf(text)).toEqual([
      { specifier: './a.ts', typeOnly: false },
      { specifier: './b.ts', typeOnly: true },
      { specifier: './c.ts', typeOnly: false },
      { specifier: './d.ts', typeOnly: false },
      { specifier: './e.ts', typeOnly: true },
    ])
  })

  it.each([
    ['src/core/x.ts', `import { Plan } from '../plan/plan.ts'`, 'core may not import plan'],
    ['src/plan/x.ts', `import { run } from '../../test/help.ts'`, 'lies in no room'],
    ['src/plan/price/x.ts', `import { solve } from '../oracle/solve.ts'`, 'lies above it'],
    ['src/learn/ppo/x.ts', `import { optimalPlan } from '../../plan/index.ts'`, 'the public entry'],
    ['src/sim/x.ts', `import * as ort from 'onnxruntime-node'`, 'belongs to core/engine'],
    ['src/attic/x.ts', '', 'lies in no room'],
    ['src/plan/attic/x.ts', '', 'lies in no room'],
  ])('refuse %s: %s', (path, text, problem) => {
    expect(importProblems(path, text).join('\n')).toContain(problem)
  })

  it('find a clock in code and not in a comment', () => {
    expect(impureReads('src/sim/x.ts', 'const t = Date.now() + Math.random() + +new Date()')).toHaveLength(3)
    expect(impureReads('src/sim/x.ts', '// no Date.now() here\nconst d = new Date(5)')).toEqual([])
    expect(impureReads('src/cli/x.ts', 'Date.now()')).toEqual([])
  })

  it('find exports that nothing uses, or only a test', () => {
    const product = [
      { path: 'src/a.ts', text: `export const idle = 1\nexport const part = 2\nexport const whole = part` },
      { path: 'src/b.ts', text: `import { whole } from './a.ts'\nexport function tool() { return whole }` },
    ]
    const tests = [{ path: 'test/b.test.ts', text: 'expect(tool()).toBe(part)' }]
    expect(idleExports(product, tests)).toEqual([
      'src/a.ts: idle is used by no other file: do not export it',
      'src/b.ts: tool is used by tests alone: delete it, or move it to test/',
    ])
  })
})
