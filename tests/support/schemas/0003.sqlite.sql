CREATE TABLE alembic_version (
	version_num VARCHAR(32) NOT NULL, 
	CONSTRAINT alembic_version_pkc PRIMARY KEY (version_num)
);
CREATE TABLE calls (
	uuid BLOB NOT NULL, 
	day DATE NOT NULL, 
	revision INTEGER NOT NULL, 
	method VARCHAR(16) DEFAULT 'INVITE' NOT NULL, 
	call_id VARCHAR(255) NOT NULL, 
	sensor VARCHAR(255) NOT NULL, 
	site VARCHAR(255) NOT NULL, 
	caller VARCHAR(255) NOT NULL, 
	callee VARCHAR(255) NOT NULL, 
	caller_domain VARCHAR(255) NOT NULL, 
	callee_domain VARCHAR(255) NOT NULL, 
	end_reason VARCHAR(255) NOT NULL, 
	hung_up_by VARCHAR(255) NOT NULL, 
	setup_time BIGINT NOT NULL, 
	answer_time BIGINT NOT NULL, 
	end_time BIGINT NOT NULL, 
	duration FLOAT NOT NULL, 
	connect_duration FLOAT NOT NULL, 
	final_response INTEGER NOT NULL, 
	one_way INTEGER NOT NULL, 
	partial INTEGER NOT NULL, 
	caller_lost INTEGER, 
	caller_mos FLOAT, 
	callee_lost INTEGER, 
	callee_mos FLOAT, 
	origin BLOB DEFAULT '' NOT NULL, 
	body BLOB NOT NULL, 
	PRIMARY KEY (uuid, day)
);
CREATE INDEX calls_caller ON calls (caller, setup_time);
CREATE INDEX calls_call_id ON calls (call_id);
CREATE INDEX calls_setup_time ON calls (setup_time);
CREATE INDEX calls_callee ON calls (callee, setup_time);
CREATE TABLE parts (
	uuid BLOB NOT NULL, 
	revision INTEGER NOT NULL, 
	origin BLOB NOT NULL, 
	body BLOB NOT NULL, 
	PRIMARY KEY (uuid)
);
CREATE TABLE joins (
	call BLOB NOT NULL, 
	part BLOB NOT NULL, 
	PRIMARY KEY (call, part)
);
CREATE INDEX joins_part ON joins (part);
CREATE TABLE endpoints (
	address VARCHAR(64) NOT NULL, 
	first BIGINT NOT NULL, 
	uuid BLOB NOT NULL, 
	last BIGINT NOT NULL, 
	streams INTEGER NOT NULL, 
	PRIMARY KEY (address, first, uuid)
);
CREATE INDEX endpoints_uuid ON endpoints (uuid);
CREATE TABLE sensors (
	uuid BLOB NOT NULL, 
	name VARCHAR(255) NOT NULL, 
	"key" VARCHAR(255) NOT NULL, 
	address VARCHAR(255) NOT NULL, 
	site VARCHAR(255) NOT NULL, 
	version VARCHAR(64) NOT NULL, 
	mode VARCHAR(255) NOT NULL, 
	sensor_id INTEGER NOT NULL, 
	started BIGINT NOT NULL, 
	last_seen BIGINT NOT NULL, 
	last_probe BIGINT NOT NULL, 
	counters TEXT NOT NULL, 
	PRIMARY KEY (uuid)
);
CREATE TABLE link_cursor (
	sensor_uuid BLOB NOT NULL, 
	epoch BLOB NOT NULL, 
	last_seq BIGINT NOT NULL, 
	last_uuid BLOB NOT NULL, 
	PRIMARY KEY (sensor_uuid)
);
CREATE TABLE cdr_quarantine (
	uuid BLOB NOT NULL, 
	revision INTEGER NOT NULL, 
	sensor_uuid BLOB NOT NULL, 
	received BIGINT NOT NULL, 
	error VARCHAR(1000) NOT NULL, 
	body BLOB NOT NULL, 
	PRIMARY KEY (uuid, revision)
);
CREATE TABLE gaps (
	uuid BLOB NOT NULL, 
	sensor_uuid BLOB NOT NULL, 
	from_seq BIGINT NOT NULL, 
	to_seq BIGINT NOT NULL, 
	count BIGINT NOT NULL, 
	reason VARCHAR(255) NOT NULL, 
	at BIGINT NOT NULL, 
	PRIMARY KEY (uuid)
);
CREATE TABLE meta (
	name VARCHAR(64) NOT NULL, 
	value BLOB NOT NULL, 
	PRIMARY KEY (name)
);
