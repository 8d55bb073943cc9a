//! The one description of the API. From it come the checks of arguments at run time (`check`), the reference in
//! `lua/README.md` and the definitions for editors (`crate::script::reference`).

mod classes;
mod events;
mod functions;

pub(in crate::script) use classes::CLASSES;
pub(in crate::script) use events::EVENTS;
pub(in crate::script) use functions::{EVERY_MIN_S, FUNCTIONS};

/// What a value must be.
#[derive(Debug)]
pub(in crate::script) enum Type {
    /// Anything.
    Any,
    /// `true` or `false`.
    Boolean,
    /// A string of any bytes.
    Bytes,
    /// A string of UTF-8.
    String,
    /// A finite number.
    Number,
    /// A finite number from the first to the second.
    Between(f64, f64),
    /// A whole number from the first to the second.
    Whole(u32, u32),
    /// One of these strings.
    OneOf(&'static [&'static str]),
    /// A list of at most so many.
    List(&'static Type, usize),
    /// A table with these fields and no others.
    Record(&'static [Field]),
    /// A table with string keys.
    Map(&'static Type),
    /// An object: see [`CLASSES`].
    Class(&'static str),
    /// A function of these parameters that returns these.
    Function(&'static [Field], &'static [Type]),
    /// One of these.
    Either(&'static [Type]),
    /// It or nil.
    Maybe(&'static Type),
}

/// A parameter or a field.
#[derive(Debug)]
pub(in crate::script) struct Field {
    pub(in crate::script) name: &'static str,
    pub(in crate::script) kind: Type,
    pub(in crate::script) optional: bool,
    pub(in crate::script) doc: &'static str,
}

/// One that must be there.
const fn must(name: &'static str, kind: Type, doc: &'static str) -> Field {
    Field { name, kind, optional: false, doc }
}

/// One that may be left out.
const fn may(name: &'static str, kind: Type, doc: &'static str) -> Field {
    Field { name, kind, optional: true, doc }
}

/// A function or a method. A method's name is `class:method`, after the class's variable.
#[derive(Debug)]
pub(in crate::script) struct Function {
    pub(in crate::script) name: &'static str,
    pub(in crate::script) params: &'static [Field],
    /// Whether any number of values of any type may follow.
    pub(in crate::script) variadic: bool,
    pub(in crate::script) returns: &'static [Type],
    /// Whether it waits for the node, the net or the time, and lets other handlers run meanwhile.
    pub(in crate::script) waits: bool,
    /// The permission that it needs.
    pub(in crate::script) needs: Option<&'static str>,
    pub(in crate::script) doc: &'static str,
}

impl Function {
    /// A function that answers at once and needs no permission.
    const fn now(name: &'static str, params: &'static [Field], returns: &'static [Type], doc: &'static str) -> Self {
        Self { name, params, variadic: false, returns, waits: false, needs: None, doc }
    }

    /// A function that waits.
    const fn waits(name: &'static str, params: &'static [Field], returns: &'static [Type], doc: &'static str) -> Self {
        Self { waits: true, ..Self::now(name, params, returns, doc) }
    }

    /// The same, for who was granted this.
    const fn needing(self, permission: &'static str) -> Self {
        Self { needs: Some(permission), ..self }
    }

    /// The same, with any number of values after its parameters.
    const fn variadic(self) -> Self {
        Self { variadic: true, ..self }
    }

    /// What a method is called on: the variable before the colon.
    pub(in crate::script) fn receiver(&self) -> Option<&'static str> {
        self.name.split_once(':').map(|(receiver, _)| receiver)
    }
}

/// An object that functions return or handlers get.
#[derive(Debug)]
pub(in crate::script) struct Class {
    pub(in crate::script) name: &'static str,
    /// What a variable of it is called: `msg` for `Message`.
    pub(in crate::script) variable: &'static str,
    pub(in crate::script) doc: &'static str,
    pub(in crate::script) fields: &'static [Field],
    pub(in crate::script) methods: &'static [Function],
}

/// Something that happens, and what its handlers get and may return.
#[derive(Debug)]
pub(in crate::script) struct Event {
    pub(in crate::script) name: &'static str,
    pub(in crate::script) params: &'static [Field],
    pub(in crate::script) returns: &'static [Type],
    /// The permission that its handlers need.
    pub(in crate::script) needs: Option<&'static str>,
    /// Whether its handlers may wait.
    pub(in crate::script) may_wait: bool,
    pub(in crate::script) doc: &'static str,
}

/// The function or method of that name.
pub(in crate::script) fn function(name: &str) -> Option<&'static Function> {
    let methods = CLASSES.iter().flat_map(|class| class.methods);
    FUNCTIONS.iter().chain(methods).find(|function| function.name == name)
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;
    use crate::config::PERMISSIONS;
    use crate::script::shared::EventKind;

    #[test]
    fn the_events_are_the_host_s() {
        let described: Vec<_> = EVENTS.iter().map(|event| event.name).collect();
        let heard: Vec<_> = EventKind::ALL.iter().map(|(_, name)| *name).collect();
        assert_eq!(described, heard);
    }

    fn classes_in(kind: &Type, found: &mut BTreeSet<&'static str>) {
        match kind {
            Type::Class(name) => drop(found.insert(name)),
            Type::List(inner, _) | Type::Maybe(inner) | Type::Map(inner) => classes_in(inner, found),
            Type::Either(kinds) => kinds.iter().for_each(|kind| classes_in(kind, found)),
            Type::Record(fields) => fields.iter().for_each(|field| classes_in(&field.kind, found)),
            Type::Function(params, returns) => {
                params.iter().for_each(|field| classes_in(&field.kind, found));
                returns.iter().for_each(|kind| classes_in(kind, found));
            }
            _ => {}
        }
    }

    #[test]
    fn names_are_unique_documented_and_known() {
        let mut names = BTreeSet::new();
        let mut used = BTreeSet::new();
        for function in FUNCTIONS.iter().chain(CLASSES.iter().flat_map(|class| class.methods)) {
            assert!(names.insert(function.name), "{} stands there twice", function.name);
            assert!(!function.doc.is_empty(), "{}", function.name);
            assert!(function.needs.is_none_or(|needs| PERMISSIONS.contains(&needs)), "{}", function.name);
            function.params.iter().for_each(|field| classes_in(&field.kind, &mut used));
            function.returns.iter().for_each(|kind| classes_in(kind, &mut used));
            // What may be left out comes last.
            let first_optional = function.params.iter().position(|field| field.optional);
            let last_required = function.params.iter().rposition(|field| !field.optional);
            if let (Some(first), Some(last)) = (first_optional, last_required) {
                assert!(last < first || function.name == "rumor.cron", "{}", function.name);
            }
        }
        for class in CLASSES {
            class.fields.iter().for_each(|field| classes_in(&field.kind, &mut used));
            for method in class.methods {
                assert_eq!(method.receiver(), Some(class.variable), "{}", method.name);
            }
        }
        for event in EVENTS {
            event.params.iter().for_each(|field| classes_in(&field.kind, &mut used));
        }
        let known: BTreeSet<_> = CLASSES.iter().map(|class| class.name).collect();
        assert!(used.is_subset(&known), "{:?}", used.difference(&known));
    }
}
