//! Contacts, lists and memberships.

use std::collections::{BTreeMap, HashMap, HashSet};

use sqlx::FromRow;

use super::db::{self, Conn, values};
use super::{Error, Store, event};
use crate::model::address::Address;
use crate::model::contact::{Contact, Person};
use crate::model::event::{Cause, Event};

/// How many people go into one statement.
const CHUNK: usize = 1_000;

/// What an import did.
#[derive(Clone, Debug, Default, PartialEq, Eq, serde::Serialize)]
pub struct Imported {
    /// New contacts.
    pub added: u64,
    /// Contacts of whom something changed.
    pub updated: u64,
    /// Contacts who were known like this.
    pub unchanged: u64,
    /// Of all of these, how many are new on the list.
    pub joined: u64,
    /// Of all of these, how many are suppressed and stay so (S-65).
    pub suppressed: u64,
}

/// A contact's row.
#[derive(Clone, Debug, FromRow)]
pub struct PersonRow {
    id: i64,
    address: String,
    first_name: String,
    last_name: String,
    language: String,
    attributes: String,
}

impl TryFrom<PersonRow> for Contact {
    type Error = Error;
    fn try_from(row: PersonRow) -> Result<Self, Error> {
        let address = Address::parse(&row.address).map_err(|_| Error::Foreign("contact's address".into()))?;
        let attributes: BTreeMap<String, String> = serde_json::from_str(&row.attributes).unwrap_or_default();
        let person = Person { address, first_name: row.first_name, last_name: row.last_name, language: row.language, attributes };
        Ok(Self { id: row.id, person })
    }
}

pub(super) const COLUMNS: &str = "c.id, c.address, c.first_name, c.last_name, c.language, c.attributes";

/// The list of a name; made where there is none.
pub(super) async fn list_id(conn: &mut Conn, now: i64, name: &str) -> Result<i64, Error> {
    if let Some((id,)) = conn.first::<(i64,)>("SELECT id FROM list WHERE name = $1", values![name]).await? {
        return Ok(id);
    }
    let id = conn.number("INSERT INTO list (name, created_at) VALUES ($1, $2) RETURNING id", values![name, now]).await?;
    event::write(conn, now, &[Event::new("list.made", Cause::Operator).detail(serde_json::json!({ "list": name }))]).await?;
    Ok(id)
}

/// Makes a contact a member, once; who has left is not brought back.
pub(super) async fn join(conn: &mut Conn, now: i64, list_id: i64, contact_id: i64, basis: &str, proof: &str) -> Result<bool, Error> {
    let sql = "INSERT INTO membership (list_id, contact_id, basis, proof, joined_at) VALUES ($1, $2, $3, $4, $5)
               ON CONFLICT (list_id, contact_id) DO NOTHING";
    Ok(conn.execute(sql, values![list_id, contact_id, basis, proof, now]).await? > 0)
}

/// The contact of a person's address; made where there is none. What is known of one that is there stays.
pub(super) async fn find_or_add(tx: &mut Conn, now: i64, inbound_id: i64, person: &Person) -> Result<i64, Error> {
    let key = [person.address.key()];
    if let Some(known) = known_people(tx, &key).await?.remove(&key[0]) {
        return Ok(known.id);
    }
    let (id, _) = insert(tx, now, &[(person, &key[0])]).await?.pop().ok_or(Error::Gone)?;
    event::write(tx, now, &[Event::new("contact.added", Cause::Inbound).inbound(inbound_id).contact(id)]).await?;
    Ok(id)
}

impl Store {
    /// Takes in people and makes them members of a list, all or nobody. `proof` says where they come from (S-180).
    ///
    /// What is new wins over what was known; an empty cell leaves what was known. A second import changes nothing.
    ///
    /// # Errors
    /// Where the database fails; then nothing was taken in.
    pub async fn import(&self, now: i64, list: &str, proof: &str, people: impl Iterator<Item = Person>) -> Result<Imported, Error> {
        let mut tx = self.db.begin().await?;
        let list_id = list_id(&mut tx, now, list).await?;
        let mut done = Imported::default();
        let mut people = people.peekable();
        while people.peek().is_some() {
            let chunk: Vec<Person> = people.by_ref().take(CHUNK).collect();
            import_chunk(&mut tx, now, list_id, proof, chunk, &mut done).await?;
        }
        tx.commit().await?;
        Ok(done)
    }

    /// The contact of an address, whatever its spelling.
    ///
    /// # Errors
    /// Where the database fails.
    pub async fn find_contact(&self, address: &Address) -> Result<Option<Contact>, Error> {
        let sql = format!("SELECT {COLUMNS} FROM contact c WHERE c.address_key = $1");
        self.db.read().await?.first::<PersonRow>(&sql, values![address.key()]).await?.map(Contact::try_from).transpose()
    }

    /// Up to `limit` members of a list who may be mailed, with ids above `after`, by id.
    ///
    /// # Errors
    /// Where the database fails.
    pub async fn list_members(&self, list: &str, after: i64, limit: i64) -> Result<Vec<Contact>, Error> {
        let sql = format!(
            "SELECT {COLUMNS} FROM membership m JOIN contact c ON c.id = m.contact_id
             WHERE m.list_id = (SELECT id FROM list WHERE name = $1) AND m.left_at IS NULL AND m.contact_id > $2
               AND NOT EXISTS (SELECT 1 FROM suppression s WHERE s.address_key = c.address_key)
             ORDER BY m.contact_id LIMIT $3 + 0"
        );
        let rows = self.db.read().await?.all::<PersonRow>(&sql, values![list, after, limit]).await?;
        rows.into_iter().map(Contact::try_from).collect()
    }

    /// The lists and how many members each has: `(name, members)`.
    ///
    /// # Errors
    /// Where the database fails.
    pub async fn lists(&self) -> Result<Vec<(String, i64)>, Error> {
        let sql = "SELECT l.name, COUNT(m.contact_id) FROM list l
                   LEFT JOIN membership m ON m.list_id = l.id AND m.left_at IS NULL GROUP BY l.name ORDER BY l.name";
        self.db.read().await?.all(sql, vec![]).await
    }
}

async fn import_chunk(tx: &mut Conn, now: i64, list_id: i64, proof: &str, people: Vec<Person>, done: &mut Imported) -> Result<(), Error> {
    let keys: Vec<String> = people.iter().map(|p| p.address.key()).collect();
    let known = known_people(tx, &keys).await?;
    let mut events = Vec::new();
    let mut new: Vec<(&Person, &String)> = Vec::new();
    for (person, key) in people.iter().zip(&keys) {
        match known.get(key) {
            None => new.push((person, key)),
            Some(contact) => match merged(&contact.person, person) {
                None => done.unchanged += 1,
                Some(changed) => {
                    update(tx, now, contact.id, &changed).await?;
                    done.updated += 1;
                    events.push(Event::new("contact.updated", Cause::Operator).contact(contact.id));
                }
            },
        }
    }
    let mut ids: HashMap<String, i64> = known.into_iter().map(|(key, contact)| (key, contact.id)).collect();
    if !new.is_empty() {
        done.added += new.len() as u64;
        for (id, key) in insert(tx, now, &new).await? {
            events.push(Event::new("contact.added", Cause::Operator).contact(id));
            ids.insert(key, id);
        }
    }
    let ids: Vec<i64> = keys.iter().filter_map(|key| ids.get(key)).copied().collect();
    for id in join_all(tx, now, list_id, proof, &ids).await? {
        done.joined += 1;
        events.push(Event::new("membership.joined", Cause::Operator).contact(id).detail(serde_json::json!({ "proof": proof })));
    }
    done.suppressed += suppressed_among(tx, &keys).await?;
    event::write(tx, now, &events).await
}

async fn known_people(tx: &mut Conn, keys: &[String]) -> Result<HashMap<String, Contact>, Error> {
    let sql = format!("SELECT {COLUMNS} FROM contact c WHERE c.address_key {}", tx.dialect().among_texts(1));
    let rows = tx.all::<PersonRow>(&sql, vec![db::texts(keys)]).await?;
    rows.into_iter().map(|row| Contact::try_from(row).map(|c| (c.person.address.key(), c))).collect()
}

/// What is known of a person after this import; `None` where that is what was known.
fn merged(old: &Person, new: &Person) -> Option<Person> {
    let or_old = |new: &str, old: &str| if new.is_empty() { old.to_owned() } else { new.to_owned() };
    let mut attributes = old.attributes.clone();
    attributes.extend(new.attributes.iter().filter(|(_, v)| !v.is_empty()).map(|(k, v)| (k.clone(), v.clone())));
    let person = Person {
        address: old.address.clone(),
        first_name: or_old(&new.first_name, &old.first_name),
        last_name: or_old(&new.last_name, &old.last_name),
        language: or_old(&new.language, &old.language),
        attributes,
    };
    (person != *old).then_some(person)
}

fn attributes_json(person: &Person) -> String {
    serde_json::to_string(&person.attributes).unwrap_or_else(|_| "{}".to_owned())
}

async fn update(tx: &mut Conn, now: i64, id: i64, person: &Person) -> Result<(), Error> {
    let sql = "UPDATE contact SET first_name = $1, last_name = $2, language = $3, attributes = $4, updated_at = $5 WHERE id = $6";
    let values = values![&person.first_name, &person.last_name, &person.language, attributes_json(person), now, id];
    tx.execute(sql, values).await.map(|_| ())
}

/// Makes contacts, each with the key of its address: their ids and these keys.
async fn insert(tx: &mut Conn, now: i64, people: &[(&Person, &String)]) -> Result<Vec<(i64, String)>, Error> {
    let sql = format!(
        "INSERT INTO contact (address, address_key, first_name, last_name, language, attributes, created_at, updated_at)
         SELECT value ->> 0, value ->> 1, value ->> 2, value ->> 3, value ->> 4, value ->> 5, $2, $2 FROM {}
         RETURNING id, address_key",
        tx.dialect().each(1)
    );
    let row = |(p, key): &(&Person, &String)| {
        serde_json::json!([p.address.as_str(), key, p.first_name, p.last_name, p.language, attributes_json(p)])
    };
    tx.all(&sql, vec![db::rows(people.iter().map(row)), now.into()]).await
}

/// Makes contacts members; the ids of those who were not.
async fn join_all(tx: &mut Conn, now: i64, list_id: i64, proof: &str, ids: &[i64]) -> Result<Vec<i64>, Error> {
    let ids: Vec<i64> = ids.iter().copied().collect::<HashSet<_>>().into_iter().collect();
    let sql = format!(
        "INSERT INTO membership (list_id, contact_id, basis, proof, joined_at)
         SELECT $2, CAST(value AS BIGINT), 'import', $3, $4 FROM {} WHERE true
         ON CONFLICT (list_id, contact_id) DO NOTHING RETURNING contact_id",
        tx.dialect().each(1)
    );
    Ok(tx.all::<(i64,)>(&sql, values![db::ids(&ids), list_id, proof, now]).await?.into_iter().map(|(id,)| id).collect())
}

async fn suppressed_among(tx: &mut Conn, keys: &[String]) -> Result<u64, Error> {
    let sql = format!("SELECT COUNT(*) FROM suppression WHERE address_key {}", tx.dialect().among_texts(1));
    let count = tx.number(&sql, vec![db::texts(keys)]).await?;
    Ok(u64::try_from(count).unwrap_or(0))
}
